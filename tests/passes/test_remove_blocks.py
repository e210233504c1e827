"""Remove blocks: the blocks that turn the residual stream least go, the stream passes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named, interpret
from girih.passes.remove_blocks import RemoveBlocks
from girih.runtime.errors import CompilationError

X = "tensor<3x4xf32>"
LINEAR = "{operandSegmentSizes = array<i32: 1, 1, 0>}"
STREAM = np.random.default_rng(1).standard_normal((3, 4), np.float32)


def blocks(count: int, name: str = "f", path: str = "layers", post_norm: bool = False) -> str:
    """Blocks of two branches each: ``y = x + w1 x;  z = y + relu(w2 y)``; norms after the sums."""
    lines: list[str] = []
    if post_norm:
        lines.append('%g = "mfm.parameter"() {parameter = "g"} : () -> tensor<4xf32>')
    x = "%x"
    for n in range(count):
        place = f'loc("{path}.{n}")'
        for branch in (1, 2):
            w, new = f"w{n}.{branch}", f"%s{n}_{branch}"
            lines.append(f"""
            {new}w = "mfm.parameter"() {{parameter = "{w}"}} : () -> tensor<4x4xf32>
            {new}l = "mfm.linear"({x}, {new}w) {LINEAR} : ({X}, tensor<4x4xf32>) -> {X}
              loc("{path}.{n}.fc{branch}")
            {new}r = "mfm.unary"({new}l) {{function = "relu"}} : ({X}) -> {X} {place}
            {new}a = "mfm.add"({x}, {new}r) : ({X}, {X}) -> {X} {place}""")
            x = f"{new}a"
            if post_norm:
                lines.append(
                    f'{new}n = "mfm.rms_norm"({x}, %g) {{epsilon = 1.0e-5 : f64}} : '
                    f"({X}, tensor<4xf32>) -> {X} {place}"
                )
                x = f"{new}n"
    body = "\n".join(lines)
    return f"func.func @{name}(%x: {X}) -> {X} {{\n{body}\nreturn {x} : {X}\n}}"


def random_weights(strengths: Sequence[float]) -> dict[str, Any]:
    """Weights of one block per strength of its branches."""
    random = np.random.default_rng(0)
    weights = {
        f"w{n}.{branch}": (strength * random.standard_normal((4, 4))).astype(np.float32)
        for n, strength in enumerate(strengths)
        for branch in (1, 2)
    }
    return {"g": np.ones(4, np.float32), **weights}


def parsed(text: str) -> ir.Module:
    with create_context():
        return ir.Module.parse(text)


def remove(module: ir.Module, compilation: Compilation, **options: Any) -> None:
    with module.context, ir.Location.unknown():
        RemoveBlocks(**options).run(module, compilation)
        assert module.operation.verify()


def evaluate(text_or_module: str | ir.Module, parameters: dict[str, Any], name: str = "f") -> Any:
    module = parsed(text_or_module) if isinstance(text_or_module, str) else text_or_module
    (found,) = interpret(function_named(module, name), [STREAM], parameters)
    return found


def test_the_least_influential_block_goes() -> None:
    """Of three blocks the middle one hardly turns the stream."""
    parameters = random_weights([1, 0.01, 1])
    module, compilation = parsed(blocks(3)), Compilation(parameters, calibration={"f": [[STREAM]]})
    with module.context, ir.Location.unknown():
        Calibrate().run(module, compilation)
    first, second, third = (compilation.influence[f"f.layers.{n}"] for n in range(3))
    assert 0 < second < min(first, third)
    remove(module, compilation)
    assert "w1." not in str(module)
    renamed = {
        name.replace("w2.", "w1."): parameters[name] for name in parameters if "w1." not in name
    }
    np.testing.assert_array_equal(
        evaluate(module, parameters), evaluate(blocks(2), {**parameters, **renamed})
    )


def test_the_influence_is_one_less_the_cosine_over_tokens() -> None:
    parameters = random_weights([1])
    module = parsed(blocks(1))
    other = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [3, 1, 1, 1]], np.float32)
    compilation = Compilation(parameters, calibration={"f": [[STREAM], [other]]})
    with module.context, ir.Location.unknown():
        Calibrate().run(module, compilation)
    cosines: list[float] = []
    for x in (STREAM, other):
        (y,) = interpret(function_named(module, "f"), [x], parameters)
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        # A token of zeros stays one, and turns by nothing.
        cosines += list(np.where(lengths == 0, 1, (x * y).sum(axis=1) / np.maximum(lengths, 1e-9)))
    np.testing.assert_allclose(compilation.influence["f.layers.0"], 1 - np.mean(cosines), rtol=1e-5)


@pytest.mark.parametrize("post_norm", [False, True])
def test_neighbours_go_together(post_norm: bool) -> None:
    """What the second begins with is what the first ends with."""
    parameters = random_weights([1, 1, 1])
    module = parsed(blocks(3, post_norm=post_norm))
    remove(module, Compilation(parameters), count=2, match="layers.[12]")
    np.testing.assert_array_equal(
        evaluate(module, parameters), evaluate(blocks(1, post_norm=post_norm), parameters)
    )


def test_all_of_what_is_named_goes() -> None:
    module = parsed(blocks(2))
    remove(module, Compilation(random_weights([1, 1])), count=2)
    np.testing.assert_array_equal(evaluate(module, {}), STREAM)


def test_a_block_goes_from_every_entry() -> None:
    """The modules' paths differ, the weights are the same."""
    module = parsed(blocks(2, "prefill") + blocks(2, "decode", "model.layers"))
    parameters = random_weights([1, 1])
    remove(module, Compilation(parameters), count=1, match="*layers.1")
    for name in ("prefill", "decode"):
        np.testing.assert_array_equal(
            evaluate(module, parameters, name), evaluate(blocks(1), parameters)
        )


def test_an_entry_that_has_the_weights_and_no_block_is_refused() -> None:
    """It would still compute what the other leaves out."""
    module = parsed(blocks(2, "prefill") + blocks(2, "decode", "other"))
    with pytest.raises(CompilationError, match=r"entry 'decode' reads weights of 'layers\.1'"):
        remove(module, Compilation(random_weights([1, 1])), match="layers.1")


def test_no_count_is_the_identity() -> None:
    module = parsed(blocks(2))
    before = str(module)
    remove(module, Compilation(random_weights([1, 1])), count=0)
    assert str(module) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 3}, "count is 3, but '\\*' matches 2 blocks"),
        ({"count": -1}, "count is -1"),
        ({"match": "layers.2"}, "'layers.2' matches no residual block"),
    ],
)
def test_blocks_that_there_are_not_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompilationError, match=message):
        remove(parsed(blocks(2)), Compilation(random_weights([1, 1])), **options)
