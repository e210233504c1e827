"""Convolutions, channels last: a product over rows that overlap."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    expect_element,
    expect_rank,
    expect_shape,
    numpy_dtype,
    rank_problem,
    shape,
)
from girih.dialects.mfm.linear import MAXIMUM_DEPTH


def windows(x: Array, kernel: int, stride: int, padding: int) -> Array:
    """Rows that a convolution multiplies: (B, L, C) -> (B, L', kernel * C), zeros outside."""
    padded = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=1)[:, ::stride]
    return view.swapaxes(2, 3).reshape(view.shape[0], view.shape[1], -1)


class _Convolution(Operation):
    def _check_window(self, x: ir.Value, weight: ir.Value, result: ir.Value) -> Iterator[str]:
        if not expect_rank("x", x, 3):
            yield rank_problem("x", x, 3)
            return
        if not expect_rank("weight", weight, 2):
            yield rank_problem("weight", weight, 2)
            return
        batch, length, channels = shape(x)
        kernel, stride, padding = self.kernel.value, self.stride.value, self.padding.value
        outputs = shape(weight)[0]
        yield from expect_shape("weight", weight, (outputs, kernel * channels))
        if min(kernel, stride) < 1 or padding < 0:
            yield f"has kernel {kernel}, stride {stride}, padding {padding}"
            return
        steps = (length + 2 * padding - kernel) // stride + 1
        yield from expect_shape("result", result, (batch, steps, outputs))


class Conv1dOp(_Convolution, name="conv1d", traits=[ext.Pure]):
    """Convolution over time, channels last, zero padding on both sides.

    x (B, L, C) f32, weight (N, kernel * C) f32 tap-major, bias (N) f32 or absent;
    result (B, (L + 2 padding - kernel) // stride + 1, N) f32.
    """

    x: ext.Operand[Any]
    weight: ext.Operand[Any]
    result: ext.Result[Any]
    kernel: ir.IntegerAttr
    stride: ir.IntegerAttr
    padding: ir.IntegerAttr
    bias: ext.Operand[Any] | None = None

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from self._check_window(self.x, self.weight, self.result)
        if self.bias is not None:
            yield from expect_shape("bias", self.bias, shape(self.weight)[:1])

    def reference(self, *inputs: Array) -> Array:
        x, weight, *bias = inputs
        rows = windows(x, self.kernel.value, self.stride.value, self.padding.value)
        result = np.matmul(rows, weight.T)
        return result + bias[0] if bias else result


class IntegerConv1dOp(_Convolution, name="integer_conv1d", traits=[ext.Pure]):
    """Quantized convolution over time: exact int32 sums, then bias and per-channel rescale.

    x (B, L, C) i8, weight (N, kernel * C) i8 tap-major, parameters (3, N) i32: bias, multiplier,
    shift; result (B, L', N) i8 or i16. docs/numerics.md, integer_linear.
    """

    x: ext.Operand[Any]
    weight: ext.Operand[Any]
    parameters: ext.Operand[Any]
    result: ext.Result[Any]
    kernel: ir.IntegerAttr
    stride: ir.IntegerAttr
    padding: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "i8")
        yield from expect_element("weight", self.weight, "i8")
        yield from expect_element("result", self.result, "i8", "i16")
        problems = list(self._check_window(self.x, self.weight, self.result))
        yield from problems
        if problems:
            return
        outputs, depth = shape(self.weight)
        yield from expect_shape("parameters", self.parameters, (3, outputs))
        if depth > MAXIMUM_DEPTH:
            yield f"sums {depth} products, expected at most {MAXIMUM_DEPTH} to fit int32"

    def reference(self, *inputs: Array) -> Array:
        x, weight, parameters = inputs
        rows = windows(x, self.kernel.value, self.stride.value, self.padding.value)
        bias, multiplier, shift = parameters
        sums = arithmetic.integer_matmul(rows, weight.T)
        return arithmetic.rescale(sums + bias, multiplier, shift, numpy_dtype(self.result))
