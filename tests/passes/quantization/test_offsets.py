"""Ramp functions use both halves of int8: half the step, and their offset in the bias, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.dialects import mfm
from girih.dialects.arithmetic import unpack_groups
from girih.dialects.mfm.activation import ramp_depth
from girih.passes import quantize
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named, interpret
from girih.passes.quantization import weights
from girih.passes.quantization.function import SCALE
from girih.passes.quantization.plan import Group
from girih.passes.quantize import Quantize

ROWS, HIDDEN, WIDTH = 200, 64, 48
GELU = '"mfm.gelu"(%x) {approximate = "none"}'
UNARY = '"mfm.unary"(%x) {{function = "{}"}}'
FUNCTIONS = {
    "gelu": (GELU, torch.nn.functional.gelu),
    "hard_swish": (UNARY.format("hard_swish"), torch.nn.functional.hardswish),
    "relu": (UNARY.format("relu"), torch.relu),
    "silu": (UNARY.format("silu"), torch.nn.functional.silu),
}


class Mlp:
    """``linear(ramp(x))``, quantized."""

    def __init__(self, ramp: str, weight: Any, bias: Any, x: Any, **options: Any) -> None:
        text = f"""
        func.func @main(%x: tensor<{ROWS}x{HIDDEN}xf32>) -> tensor<{ROWS}x{WIDTH}xf32> {{
          %w = "mfm.parameter"() {{parameter = "w"}} : () -> tensor<{WIDTH}x{HIDDEN}xf32>
          %b = "mfm.parameter"() {{parameter = "b"}} : () -> tensor<{WIDTH}xf32>
          %0 = {ramp} : (tensor<{ROWS}x{HIDDEN}xf32>) -> tensor<{ROWS}x{HIDDEN}xf32>
          %1 = "mfm.linear"(%0, %w, %b) {{operandSegmentSizes = array<i32: 1, 1, 1>}}
            : (tensor<{ROWS}x{HIDDEN}xf32>, tensor<{WIDTH}x{HIDDEN}xf32>, tensor<{WIDTH}xf32>)
            -> tensor<{ROWS}x{WIDTH}xf32>
          return %1 : tensor<{ROWS}x{WIDTH}xf32>
        }}"""
        self.compilation = Compilation({"w": weight, "b": bias}, calibration={"main": [[x]]})
        with create_context(), ir.Location.unknown():
            self.module = ir.Module.parse(text)
            for each in (Calibrate(), Quantize(**options)):
                each.run(self.module, self.compilation)
            assert self.module.operation.verify()
            self.function = function_named(self.module, "main")
            operations = list(self.function.entry_block.operations)
            (self.gelu,) = [op for op in operations if isinstance(op, mfm.IntegerGeluOp)]
            (self.linear,) = [op for op in operations if isinstance(op, mfm.IntegerLinearOp)]

    def array(self, value: ir.Value) -> Any:
        """A weight's integers as they are multiplied."""
        op: Any = value.owner.opview
        if isinstance(op, mfm.UnpackOp):
            return unpack_groups(self.array(op.x))
        return self.compilation.parameters[op.parameter.value]

    def run(self, x: Any) -> Any:
        """What the integers compute."""
        (given,), (found,) = (
            [item[SCALE].value for item in self.function.attributes[side]]
            for side in ("arg_attrs", "res_attrs")
        )
        integers = np.rint(x / given).astype(np.int16)
        return interpret(self.function, [integers], self.compilation.parameters)[0] * found


def exact_weight(random: Any) -> Any:
    """Weights that int8 holds exactly: nothing but the activations is rounded."""
    integers = random.integers(-127, 128, (WIDTH, HIDDEN))
    integers[:, 0] = 127
    return (integers / 127).astype(np.float32)


def noise(mlp: Mlp, exact: Any, x: Any) -> float:
    return float(np.sqrt(((mlp.run(x) - exact) ** 2).mean()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_halves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is (depth + largest) / 255 in place of largest / 127."""
    random = np.random.default_rng(0)
    weight, bias = exact_weight(random), random.normal(0, 1, WIDTH).astype(np.float32)
    x = (3 * random.standard_normal((ROWS, HIDDEN))).astype(np.float32)
    ramp, function = FUNCTIONS[name]
    exact = function(torch.from_numpy(x)).double().numpy() @ weight.T.astype(np.float64) + bias
    both = Mlp(ramp, weight, bias, x, smoothing=0.0)
    monkeypatch.setattr(quantize, "use_both_halves", lambda groups, compilation: None)
    one = Mlp(ramp, weight, bias, x, smoothing=0.0)
    assert one.gelu.offset.value == 0
    assert both.gelu.offset.value < -110
    assert noise(both, exact, x) < 0.56 * noise(one, exact, x)


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 4]),
    smoothing=st.sampled_from([0.0, 0.5]),
)
def test_the_bias_takes_the_offset_back(seed: int, bits: int, smoothing: float) -> None:
    """Of the integers that are multiplied: those of 4 bits are others than those of 8."""
    random = np.random.default_rng(seed)
    weight = random.normal(0, 1, (WIDTH, HIDDEN)).astype(np.float32)
    x = (random.uniform(0.01, 9) * random.standard_normal((ROWS, HIDDEN))).astype(np.float32)
    mlp = Mlp(GELU, weight, np.zeros(WIDTH, np.float32), x, smoothing=smoothing, weights=bits)
    integers = mlp.array(mlp.linear.weight).astype(np.int64)
    bias = mlp.array(mlp.linear.parameters)[0]
    np.testing.assert_array_equal(bias, -mlp.gelu.offset.value * integers.sum(axis=1))


def test_the_largest_value_and_the_lowest_are_in_range() -> None:
    """Nothing that calibration saw saturates, and 0 is an integer."""
    random = np.random.default_rng(1)
    x = (2 * random.standard_normal((ROWS, HIDDEN))).astype(np.float32)
    weight, bias = exact_weight(random), np.zeros(WIDTH, np.float32)
    mlp = Mlp(GELU, weight, bias, x, smoothing=0.0)
    exact = torch.nn.functional.gelu(torch.from_numpy(x)).double().numpy()
    scale = (float(exact.max()) + ramp_depth("gelu")) / 255
    lowest, highest = (round(each / scale) + mlp.gelu.offset.value for each in (-0.17, exact.max()))
    assert -128 <= lowest <= -127
    assert 126 <= highest <= 127
    found = mlp.run(np.zeros((ROWS, HIDDEN)))
    assert not found.any()


def test_a_value_that_is_always_zero() -> None:
    """Smoothing leaves it alone, and its offset is a number."""
    zeros, weight = np.zeros((ROWS, HIDDEN), np.float32), np.ones((WIDTH, HIDDEN), np.float32)
    mlp = Mlp(GELU, weight, np.zeros(WIDTH, np.float32), zeros)
    assert not mlp.run(zeros).any()


@pytest.mark.parametrize("maximum", [0.0, 0.05, 0.17, 1.0, 40.0])
@pytest.mark.parametrize("depth", [0.0, 0.17, 0.375])
def test_an_offset_fits_int8(maximum: float, depth: float) -> None:
    group = Group(maximum, {8}, below=min(depth, maximum))
    assert -128 <= group.offset <= 0


@pytest.mark.parametrize("depth", [1, 4096, 32897, mfm.linear.MAXIMUM_DEPTH])
def test_a_bias_with_an_offset_in_it_fits_int32(depth: int) -> None:
    """At the longest sums, the largest weights and inputs, and a bias that is larger still."""
    weight, bias = np.ones((1, depth)), np.array([1e12])
    integers, scale = weights.quantize_rows(weight, bias, 1e-3)
    units = int(np.rint(bias / (1e-3 * scale))[0])
    assert units + 255 * int(np.abs(integers.astype(np.int64)).sum()) < 1 << 31
    assert units + 255 * 128 * depth < 1 << 31
    assert units > 1 << 22


def test_a_hollow_weight_has_hollow_sums() -> None:
    """Weights without values, as `estimate` has them: one row stands for all."""
    weight = np.broadcast_to(np.float32(0.37), (WIDTH, HIDDEN))
    x = np.ones((ROWS, HIDDEN), np.float32)
    for bits in (8, 4):
        mlp = Mlp(GELU, weight, np.zeros(WIDTH, np.float32), x, weights=bits)
        integers = mlp.array(mlp.linear.weight).astype(np.int64)
        bias = mlp.array(mlp.linear.parameters)[0]
        np.testing.assert_array_equal(bias, -mlp.gelu.offset.value * integers.sum(axis=1))
