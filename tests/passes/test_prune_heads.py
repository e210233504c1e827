"""Prune heads: key heads go with all their query heads, in every entry point at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named, interpret
from girih.passes.prune_heads import PruneHeads
from girih.runtime.errors import CompilationError

DEPTH, WIDTH = 2, 8
SIZES = {"q": (6 * DEPTH, WIDTH), "k": (3 * DEPTH, WIDTH), "v": (3 * DEPTH, WIDTH)}
SIZES["o"] = (WIDTH, 6 * DEPTH)
LINEAR = "{operandSegmentSizes = array<i32: 1, 1, 0>}"
CACHE = "tensor<1x4x3x2xf32>"


def projected(x: str, rows: int, *names: str) -> str:
    """Linear operations on x by their weights' names, each reshaped to heads (``%q4``, ...)."""
    lines: list[str] = []
    for name in names:
        outputs = SIZES[name][0]
        lines.append(f"""
        %w{name} = "mfm.parameter"() {{parameter = "{name}"}} : () -> tensor<{outputs}x8xf32>
        %{name} = "mfm.linear"({x}, %w{name}) {LINEAR}
          : (tensor<1x{rows}x8xf32>, tensor<{outputs}x8xf32>) -> tensor<1x{rows}x{outputs}xf32>
        %{name}4 = "mfm.reshape"(%{name}) : (tensor<1x{rows}x{outputs}xf32>)
          -> tensor<1x{rows}x{outputs // 2}x2xf32>""")
    return "\n".join(lines)


def attended(keys: str, values: str, rows: int) -> str:
    return f"""
    %a = "mfm.attention"(%q4, {keys}, {values}) {{scale = 0.5 : f64, causal = 0 : i64,
      operandSegmentSizes = array<i32: 1, 1, 1, 0>}}
      : (tensor<1x{rows}x6x2xf32>, {CACHE}, {CACHE}) -> tensor<1x{rows}x6x2xf32> loc("attn")
    %a3 = "mfm.reshape"(%a) : (tensor<1x{rows}x6x2xf32>) -> tensor<1x{rows}x12xf32>
    %wo = "mfm.parameter"() {{parameter = "o"}} : () -> tensor<8x12xf32>
    %y = "mfm.linear"(%a3, %wo) {LINEAR} : (tensor<1x{rows}x12xf32>, tensor<8x12xf32>)
      -> tensor<1x{rows}x8xf32> loc("attn.out")"""


SELF = f"""
func.func @f(%x: tensor<1x4x8xf32>) -> tensor<1x4x8xf32> {{
{projected("%x", 4, "q", "k", "v")}
{attended("%k4", "%v4", 4)}
return %y : tensor<1x4x8xf32>
}}"""
CACHED = f"""
func.func @prefill(%x: tensor<1x4x8xf32>) -> (tensor<1x4x8xf32>,
    {CACHE} {{mfm.state = "keys"}}, {CACHE} {{mfm.state = "values"}}) {{
{projected("%x", 4, "q", "k", "v")}
{attended("%k4", "%v4", 4)}
return %y, %k4, %v4 : tensor<1x4x8xf32>, {CACHE}, {CACHE}
}}
func.func @decode(%x: tensor<1x1x8xf32>, %position: tensor<1xi64>,
    %keys: {CACHE} {{mfm.state = "keys"}}, %values: {CACHE} {{mfm.state = "values"}})
    -> (tensor<1x1x8xf32>, {CACHE} {{mfm.state = "keys"}}, {CACHE} {{mfm.state = "values"}}) {{
{projected("%x", 1, "q", "k", "v")}
%ks = "mfm.cache_update"(%keys, %position, %k4)
  : ({CACHE}, tensor<1xi64>, tensor<1x1x3x2xf32>) -> {CACHE}
%vs = "mfm.cache_update"(%values, %position, %v4)
  : ({CACHE}, tensor<1xi64>, tensor<1x1x3x2xf32>) -> {CACHE}
{attended("%ks", "%vs", 1)}
return %y, %ks, %vs : tensor<1x1x8xf32>, {CACHE}, {CACHE}
}}"""
X = np.random.default_rng(1).standard_normal((1, 4, 8), np.float32)


def random_weights() -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(size, np.float32) for name, size in SIZES.items()}


def parsed(text: str) -> ir.Module:
    with create_context():
        return ir.Module.parse(text)


def prune(module: ir.Module, compilation: Compilation, **options: Any) -> None:
    with module.context, ir.Location.unknown():
        PruneHeads(**options).run(module, compilation)
        assert module.operation.verify()


def group_columns(group: int) -> slice:
    """Columns of the output projection that one key head's two query heads feed."""
    return slice(2 * DEPTH * group, 2 * DEPTH * (group + 1))


@pytest.mark.parametrize("observed", [False, True])
def test_heads_that_nothing_reads_go_first(observed: bool) -> None:
    parameters = random_weights()
    parameters["o"][:, group_columns(1)] = 0
    module, compilation = parsed(SELF), Compilation(parameters, calibration={"f": [[X]]})
    (expected,) = interpret(function_named(module, "f"), [X], parameters)
    if observed:
        with module.context, ir.Location.unknown():
            Calibrate().run(module, compilation)
    prune(module, compilation, share=1 / 3)
    (found,) = interpret(function_named(module, "f"), [X], parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    sizes = {name: parameters[f"{name}.pruned"].shape for name in SIZES}
    assert sizes == {"q": (8, 8), "k": (4, 8), "v": (4, 8), "o": (8, 8)}


def test_what_was_observed_counts() -> None:
    """Head 2 has the largest output weights, but its values are nearly 0 on all inputs."""
    parameters = random_weights()
    parameters["o"][:, group_columns(2)] *= 10
    parameters["v"][2 * DEPTH :] *= 1e-4
    parameters["k"][2 * DEPTH :] *= 1e3
    left: list[Any] = []
    for observed in (False, True):
        module = parsed(SELF)
        compilation = Compilation(dict(parameters), calibration={"f": [[X]]})
        if observed:
            with module.context, ir.Location.unknown():
                Calibrate().run(module, compilation)
        prune(module, compilation, share=1 / 3)
        left.append(np.abs(compilation.parameters["k.pruned"]).max() > 100)
    assert left == [True, False]


def test_no_share_is_the_identity() -> None:
    module = parsed(CACHED)
    before = str(module)
    prune(module, Compilation(random_weights()), share=0)
    assert str(module) == before


FUSED = """
func.func @f(%x: tensor<1x4x8xf32>) -> tensor<1x4x8xf32> {
%w = "mfm.parameter"() {parameter = "qkv"} : () -> tensor<18x8xf32>
%p = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
  : (tensor<1x4x8xf32>, tensor<18x8xf32>) -> tensor<1x4x18xf32>
PARTS
%a = "mfm.attention"(%q, %k, %v) {scale = 0.5 : f64, causal = 1 : i64,
  operandSegmentSizes = array<i32: 1, 1, 1, 0>}
  : (tensor<1x4x3x2xf32>, tensor<1x4x3x2xf32>, tensor<1x4x3x2xf32>) -> tensor<1x4x3x2xf32>
%r = "mfm.reshape"(%a) : (tensor<1x4x3x2xf32>) -> tensor<1x4x6xf32>
%o = "mfm.parameter"() {parameter = "o"} : () -> tensor<8x6xf32>
%y = "mfm.linear"(%r, %o) {operandSegmentSizes = array<i32: 1, 1, 0>}
  : (tensor<1x4x6xf32>, tensor<8x6xf32>) -> tensor<1x4x8xf32>
return %y : tensor<1x4x8xf32>
}"""
CUT = """%{0}s = "mfm.slice"(%p) {{offsets = array<i64: 0, 0, {1}>, strides = array<i64: 1, 1, 1>}}
  : (tensor<1x4x18xf32>) -> tensor<1x4x6xf32>
%{0} = "mfm.reshape"(%{0}s) : (tensor<1x4x6xf32>) -> tensor<1x4x3x2xf32>"""
HEADS_FIRST = """%{0}s = "mfm.slice"(%h) {{offsets = array<i64: 0, 0, {1}, 0, 0>,
  strides = array<i64: 1, 1, 1, 1, 1>}} : (tensor<1x4x3x3x2xf32>) -> tensor<1x4x1x3x2xf32>
%{0} = "mfm.reshape"(%{0}s) : (tensor<1x4x1x3x2xf32>) -> tensor<1x4x3x2xf32>"""


@pytest.mark.parametrize("reshaped", [False, True])
def test_one_product_for_queries_keys_and_values(reshaped: bool) -> None:
    """It loses the head three times; the parts are cut before or after the reshape to heads."""
    parts = [
        HEADS_FIRST.format(name, index) if reshaped else CUT.format(name, 6 * index)
        for index, name in enumerate("qkv")
    ]
    if reshaped:
        shaped = '%h = "mfm.reshape"(%p) : (tensor<1x4x18xf32>) -> tensor<1x4x3x3x2xf32>'
        parts.insert(0, shaped)
    random = np.random.default_rng(4)
    parameters = {
        "qkv": random.standard_normal((18, 8), np.float32),
        "o": random.standard_normal((8, 6), np.float32),
    }
    parameters["o"][:, 2:4] = 0
    module = parsed(FUSED.replace("PARTS", "\n".join(parts)))
    (expected,) = interpret(function_named(module, "f"), [X], parameters)
    prune(module, Compilation(parameters), share=1 / 3)
    (found,) = interpret(function_named(module, "f"), [X], parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert parameters["qkv.pruned"].shape == (12, 8)


def run_steps(module: ir.Module, parameters: dict[str, Any]) -> list[Any]:
    """Results of a prefill and of a step that replaces row 2 of its cache."""
    first, keys, values = interpret(function_named(module, "prefill"), [X], parameters)
    step = [X[:, :1], np.array([2]), keys, values]
    second, *_ = interpret(function_named(module, "decode"), step, parameters)
    return [first, second]


def test_caches_lose_the_heads_in_every_entry() -> None:
    parameters = random_weights()
    parameters["o"][:, group_columns(0)] = 0
    module = parsed(CACHED)
    cache = np.random.default_rng(3).standard_normal((1, 4, 3, 2), np.float32)
    step = [X[:, :1], np.array([2]), cache, cache]
    compilation = Compilation(parameters, calibration={"prefill": [[X]], "decode": [step]})
    expected = run_steps(module, parameters)
    prune(module, compilation, share=1 / 3)
    for one, other in zip(run_steps(module, parameters), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    left = compilation.calibration["decode"][0]
    np.testing.assert_array_equal(left[2], cache[:, :, 1:])
    assert step[2] is cache
    types = function_named(module, "decode").type
    assert str(types.inputs[2]) == str(types.results[1]) == "tensor<1x4x2x2xf32>"


def test_keys_that_the_caller_sees_stay() -> None:
    """Without the mark of a state the second result is the caller's."""
    text = CACHED.partition("func.func @decode")[0].replace(' {mfm.state = "keys"}', "")
    with pytest.raises(CompilationError, match="they are seen in a result of entry 'prefill'"):
        prune(parsed(text), Compilation(random_weights()))


def test_heads_that_two_attentions_share_stay() -> None:
    """A bias per head that all layers add ties their heads: what one can spare another needs."""
    bias = '%b = "mfm.parameter"() {parameter = "b"} : () -> tensor<1x6x4x4xf32>\n'
    once = (
        SELF.replace("%v4)", "%v4, %b)")
        .replace("1, 1, 1, 0>}", "1, 1, 1, 1>}")
        .replace(f"{CACHE}, {CACHE})", f"{CACHE}, {CACHE}, tensor<1x6x4x4xf32>)")
        .replace("> {\n", "> {\n" + bias, 1)
    )
    prune(parsed(once), Compilation({**random_weights(), "b": np.zeros((1, 6, 4, 4))}))
    other = once.replace("@f", "@g")
    for name in SIZES:
        other = other.replace(f'parameter = "{name}"', f'parameter = "{name}2"')
    with pytest.raises(CompilationError, match="o and o2 read its heads"):
        prune(parsed(once + other), Compilation(random_weights()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.0}, "takes a share from 0 to below 1, found 1.0"),
        ({"match": "self"}, "'self' matches no attention; the first is 'attn'"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompilationError, match=message):
        prune(parsed(SELF), Compilation(random_weights()), **options)
