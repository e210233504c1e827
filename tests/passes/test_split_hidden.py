"""Split hidden: the sum over groups of an MLP's hidden columns is that over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.dialects.mfm.hollow import hollow, is_hollow
from girih.passes.base import Compilation
from girih.passes.interpreter import function_named, interpret
from girih.passes.split_hidden import SplitHidden

X, H = "tensor<2x5x6xf32>", "tensor<2x5x12xf32>"
GELU = '"mfm.gelu"(%f) {approximate = "tanh"}'
RELU = '"mfm.unary"(%f) {function = "relu"}'


def mlp(activation: str, bias: bool) -> str:
    names = {"g": "6", "v": "12x6", "a": "12", "w": "6x12", "b": "6"}
    weights = "\n".join(
        f'%{name} = "mfm.parameter"() {{parameter = "{name}"}} : () -> tensor<{sizes}xf32>'
        for name, sizes in names.items()
    )
    segments = f"{{operandSegmentSizes = array<i32: 1, 1, {int(bias)}>}}"
    first, last = (", %a", ", %b") if bias else ("", "")
    kinds = (", tensor<12xf32>", ", tensor<6xf32>") if bias else ("", "")
    return f"""
    func.func @f(%x: {X}) -> {X} {{
    {weights}
    %n = "mfm.layer_norm"(%x, %g, %g) {{epsilon = 1.0e-5 : f64}}
      : ({X}, tensor<6xf32>, tensor<6xf32>) -> {X}
    %f = "mfm.linear"(%n, %v{first}) {segments} : ({X}, tensor<12x6xf32>{kinds[0]}) -> {H}
    %h = {activation} : ({H}) -> {H}
    %l = "mfm.linear"(%h, %w{last}) {segments} : ({H}, tensor<6x12xf32>{kinds[1]}) -> {X}
    %y = "mfm.add"(%l, %x) : ({X}, {X}) -> {X}
    return %y : {X}
    }}"""


def split(text: str, parameters: dict[str, Any], groups: int) -> ir.Module:
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        SplitHidden(groups=groups, least=1).run(module, Compilation(parameters))
        assert module.operation.verify()
        return module


def linears(module: ir.Module) -> int:
    block = function_named(module, "f").entry_block
    return sum(op.operation.name == "mfm.linear" for op in block.operations)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [GELU, RELU])
@pytest.mark.parametrize("groups", [2, 3, 12])
def test_groups_add_up(activation: str, bias: bool, groups: int) -> None:
    """On weights that come from nowhere else; the residual stream on the other side of the sum."""
    random = np.random.default_rng(groups)
    sizes = {"g": (6,), "v": (12, 6), "a": (12,), "w": (6, 12), "b": (6,)}
    parameters: dict[str, Any] = {
        name: random.standard_normal(size, np.float32) for name, size in sizes.items()
    }
    x = random.standard_normal((2, 5, 6), np.float32)
    text = mlp(activation, bias)
    with create_context():
        whole = ir.Module.parse(text)
        (expected,) = interpret(function_named(whole, "f"), [x], parameters)
    module = split(text, parameters, groups)
    assert linears(module) == 2 * groups
    (found,) = interpret(function_named(module, "f"), [x], parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_columns_that_do_not_divide_stay_whole() -> None:
    """Groups of several widths would want buffers of their own."""
    parameters: dict[str, Any] = dict.fromkeys("gvawb")
    assert linears(split(mlp(GELU, True), parameters, 5)) == 2


def test_weights_without_values_stay_so() -> None:
    """An estimate of a model must not take the memory of its weights."""
    sizes = {"g": (6,), "v": (12, 6), "a": (12,), "w": (6, 12), "b": (6,)}
    parameters: dict[str, Any] = {
        name: hollow(size, np.dtype(np.float32)) for name, size in sizes.items()
    }
    split(mlp(GELU, True), parameters, 2)
    made = [name for name in parameters if "." in name]
    assert len(made) == 6
    assert all(is_hollow(parameters[name]) for name in made)
