"""Prune hidden: the least important channels of an MLP go, and nothing else changes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.dialects.mfm.hollow import hollow, is_hollow
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named, interpret
from girih.passes.prune_hidden import PruneHidden
from girih.passes.statistics import STATISTICS
from girih.runtime.errors import CompilationError

X, H = "tensor<5x4xf32>", "tensor<5x8xf32>"
SIZES: dict[str, tuple[int, ...]] = {"v": (8, 4), "a": (8,), "u": (8, 4), "w": (4, 8)}
WITHOUT = "{operandSegmentSizes = array<i32: 1, 1, 0>}"


def gated(name: str = "f", weights: str = "vauw") -> str:
    """``linear(silu(linear(x, v, a)) * linear(x, u), w)``."""
    v, a, u, w = weights
    parameters = "\n".join(
        f'%{each} = "mfm.parameter"() {{parameter = "{each}"}} : () -> '
        f"tensor<{'x'.join(map(str, SIZES[each]))}xf32>"
        for each in dict.fromkeys(weights)
    )
    return f"""
    func.func @{name}(%x: {X}) -> {X} {{
    {parameters}
    %g = "mfm.linear"(%x, %{v}, %{a}) {{operandSegmentSizes = array<i32: 1, 1, 1>}}
      : ({X}, tensor<8x4xf32>, tensor<8xf32>) -> {H} loc("mlp.gate")
    %s = "mfm.unary"(%g) {{function = "silu"}} : ({H}) -> {H}
    %k = "mfm.linear"(%x, %{u}) {WITHOUT} : ({X}, tensor<8x4xf32>) -> {H} loc("mlp.up")
    %h = "mfm.binary"(%s, %k) {{function = "multiply"}} : ({H}, {H}) -> {H}
    %y = "mfm.linear"(%h, %{w}) {WITHOUT} : ({H}, tensor<4x8xf32>) -> {X} loc("mlp.down")
    return %y : {X}
    }}"""


def random_weights() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(size, np.float32) for name, size in SIZES.items()}


def inputs(seed: int = 1) -> list[Any]:
    return [np.random.default_rng(seed).standard_normal((5, 4), np.float32)]


def parsed(text: str) -> ir.Module:
    with create_context():
        return ir.Module.parse(text)


def prune(module: ir.Module, compilation: Compilation, **options: Any) -> None:
    with module.context, ir.Location.unknown():
        PruneHidden(**options).run(module, compilation)
        assert module.operation.verify()


def calibrate(module: ir.Module, compilation: Compilation) -> None:
    with module.context, ir.Location.unknown():
        Calibrate().run(module, compilation)


def evaluate(module: ir.Module, compilation: Compilation, name: str = "f") -> Any:
    (found,) = interpret(function_named(module, name), inputs(), compilation.parameters)
    return found


@pytest.mark.parametrize("observed", [False, True])
def test_channels_that_nothing_reads_go_first(observed: bool) -> None:
    """Of 8 channels the 3 without weights in the last product go: the result stays."""
    parameters = random_weights()
    parameters["w"][:, [0, 3, 6]] = 0
    module = parsed(gated())
    compilation = Compilation(parameters, calibration={"f": [inputs(2)]})
    expected = evaluate(module, compilation)
    if observed:
        calibrate(module, compilation)
    prune(module, compilation, share=3 / 8)
    np.testing.assert_allclose(evaluate(module, compilation), expected, rtol=1e-5, atol=1e-6)
    for name, axis in (("v", 0), ("a", 0), ("u", 0), ("w", 1)):
        left = np.take(parameters[name], [1, 2, 4, 5, 7], axis)
        np.testing.assert_array_equal(compilation.parameters[f"{name}.pruned"], left)


def test_what_was_observed_counts() -> None:
    """Channel 2 has the largest weights by far, but on these inputs it is never active."""
    parameters = random_weights()
    parameters["a"][2] = -1000
    parameters["w"][:, 2] = 100
    module = parsed(gated())
    compilation = Compilation(dict(parameters))
    prune(module, compilation, share=1 / 8)
    assert -1000 in compilation.parameters["a.pruned"]
    module = parsed(gated())
    compilation = Compilation(dict(parameters), calibration={"f": [inputs()]})
    expected = evaluate(module, compilation)
    calibrate(module, compilation)
    prune(module, compilation, share=1 / 8)
    assert -1000 not in compilation.parameters["a.pruned"]
    np.testing.assert_allclose(evaluate(module, compilation), expected, rtol=1e-5, atol=1e-4)


def test_statistics_stay_those_of_the_channels() -> None:
    """A pass that follows without a second calibration finds one number per channel left."""
    module = parsed(gated())
    compilation = Compilation(random_weights(), calibration={"f": [inputs()]})
    calibrate(module, compilation)
    hidden = function_named(module, "f").entry_block.operations[7]
    key = hidden.operation.attributes[STATISTICS].value
    before = compilation.statistics[key]
    prune(module, compilation, share=0.5)
    assert hidden.operation.name == "mfm.binary"
    assert compilation.squares[key].shape == compilation.statistics[key].shape == (4,)
    assert set(compilation.statistics[key]) < set(before)


def test_no_share_is_the_identity() -> None:
    module = parsed(gated())
    before, parameters = str(module), random_weights()
    prune(module, Compilation(dict(parameters)), share=0)
    assert str(module) == before


def test_functions_lose_the_same_channels_of_weights_that_they_share() -> None:
    """Prefill and decode are one model."""
    module = parsed(gated("f") + gated("g"))
    parameters = random_weights()
    compilation = Compilation(parameters)
    prune(module, compilation, share=0.5)
    assert sorted(name for name in parameters if "pruned" in name) == [
        f"{name}.pruned" for name in "auvw"
    ]
    np.testing.assert_array_equal(
        evaluate(module, compilation, "f"), evaluate(module, compilation, "g")
    )


def test_a_weight_that_is_read_in_another_way_stays() -> None:
    """One matrix makes the channels here and takes all of its rows there."""
    module = parsed(
        gated()
        .replace(
            f"return %y : {X}",
            f'%z = "mfm.linear"(%x, %v) {WITHOUT} : ({X}, tensor<8x4xf32>) -> {H}\n'
            f"return %y, %z : {X}, {H}",
        )
        .replace(f"-> {X} {{", f"-> ({X}, {H}) {{", 1)
    )
    with pytest.raises(CompilationError, match=r"'mlp\.down' must stay whole: .* in a result"):
        prune(module, Compilation(random_weights()))


def test_two_readers_of_one_mlp_keep_it_whole() -> None:
    """What one of them can spare the other may need."""
    module = parsed(
        gated().replace(
            f"return %y : {X}",
            f'%t = "mfm.parameter"() {{parameter = "t"}} : () -> tensor<4x8xf32>\n'
            f'%z = "mfm.linear"(%h, %t) {WITHOUT} : ({H}, tensor<4x8xf32>) -> {X}\n'
            f"return %z : {X}",
        )
    )
    with pytest.raises(CompilationError, match="t and w read its channels"):
        prune(module, Compilation(random_weights()))


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_shares_that_leave_nothing_are_refused(share: float) -> None:
    with pytest.raises(CompilationError, match="takes a share from 0 to below 1"):
        prune(parsed(gated()), Compilation(random_weights()), share=share)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(CompilationError, match=r"'mpl\.\*' matches no MLP"):
        prune(parsed(gated()), Compilation(random_weights()), match="mpl.*")


@pytest.mark.parametrize(("multiple", "left"), [(1, 5), (2, 6), (3, 6), (5, 5), (16, 8)])
def test_channels_come_in_multiples(multiple: int, left: int) -> None:
    compilation = Compilation(random_weights())
    module = parsed(gated())
    prune(module, compilation, share=3 / 8, multiple=multiple)
    assert compilation.parameters.get("a.pruned", compilation.parameters["a"]).shape == (left,)


def test_weights_without_values_stay_so() -> None:
    """An estimate of a model must not take the memory of its weights."""
    parameters: dict[str, Any] = {
        name: hollow(size, np.dtype(np.float32)) for name, size in SIZES.items()
    }
    prune(parsed(gated()), Compilation(parameters), share=0.25)
    assert parameters["w.pruned"].shape == (4, 6)
    assert all(is_hollow(parameters[f"{name}.pruned"]) for name in SIZES)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_weights_stay_narrow(dtype: Any) -> None:
    parameters = {name: array.astype(dtype) for name, array in random_weights().items()}
    module, compilation = parsed(gated()), Compilation(parameters)
    prune(module, compilation, share=0.25)
    assert parameters["v.pruned"].dtype == dtype
    assert evaluate(module, compilation).shape == (5, 4)
