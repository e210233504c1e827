"""Pointwise nonlinear functions."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import special
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    expect_element,
    expect_shape,
    expect_shift,
    numpy_dtype,
    shape,
)

GELU_TABLE_ENTRIES = 1024
RAMP_REACH = 8.0
"""Beyond it a ramp function is its ramp."""
GELU_FRACTION_BITS = 8


class GeluOp(Operation, name="gelu", traits=[ext.Pure]):
    """``x Phi(x)``; approximate ``none`` is exact (erf), ``tanh`` Hendrycks and Gimpel's form.

    x (...) f32; result as x.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]
    approximate: ir.StringAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from expect_shape("result", self.result, shape(self.x))
        if self.approximate.value not in ("none", "tanh"):
            yield f"approximate is {self.approximate.value!r}, expected 'none' or 'tanh'"

    def reference(self, *inputs: Array) -> Array:
        return evaluate_gelu(inputs[0], self.approximate.value)


def gelu_ramp(op: GeluOp) -> str:
    """Which of `RAMPS` it is."""
    form = op.approximate.value
    return "gelu" if form == "none" else f"gelu_{form}"


def evaluate_gelu(x: Array, approximate: str) -> Array:
    """`GeluOp` on a NumPy array."""
    if approximate == "tanh":
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)
        return (np.float32(0.5) * x * (1 + np.tanh(inner))).astype(x.dtype)
    return (x * special.ndtr(x)).astype(x.dtype)


class IntegerGeluOp(Operation, name="integer_gelu", traits=[ext.Pure]):
    """Integer gelu: the ramp, minus a small even function read from a table.

    x (..., C) i16, parameters (2, C) i32: multiplier, shift per channel, table (1024) i32;
    result as x, i8 or i16, in which offset stands for 0. docs/numerics.md, integer_gelu.
    """

    x: ext.Operand[Any]
    parameters: ext.Operand[Any]
    table: ext.Operand[Any]
    result: ext.Result[Any]
    index_multiplier: ir.IntegerAttr
    index_shift: ir.IntegerAttr
    offset: ir.IntegerAttr

    least_axes = {"x": 1}

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "i16")
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shape("parameters", self.parameters, (2, shape(self.x)[-1]))
        yield from expect_shape("table", self.table, (GELU_TABLE_ENTRIES,))
        yield from expect_shape("result", self.result, shape(self.x))
        yield from expect_shift("index_shift", self.index_shift.value)
        if not -128 <= self.offset.value <= 127:
            yield f"offset is {self.offset.value}, expected -128 to 127"

    def reference(self, *inputs: Array) -> Array:
        x, (multiplier, shift), table = inputs
        wide = x.astype(np.int64)
        index_shift = self.index_shift.value
        scaled = np.abs(wide) * self.index_multiplier.value + arithmetic.half(index_shift)
        index = np.minimum(scaled >> index_shift, GELU_TABLE_ENTRIES - 1)
        value = (np.maximum(wide, 0) << GELU_FRACTION_BITS) + table[index]
        return arithmetic.rescale(
            value, multiplier, shift, numpy_dtype(self.result), self.offset.value
        )


_RAMPS: dict[str, Callable[[Array], Array]] = {
    "gelu": special.ndtr,
    "gelu_tanh": lambda x: 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "hard_swish": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "quick_gelu": lambda x: special.expit(1.702 * x),
    "relu": np.zeros_like,
    "silu": special.expit,
}
"""Functions ``x w(x)`` with ``w(x) + w(-x) = 1`` (relu in the limit), by the weight w at x <= 0.

Each is the ramp max(x, 0) plus an even function that vanishes far from 0.
"""
RAMPS = frozenset(_RAMPS)


def ramp_depth(function: str) -> float:
    """How far below 0 a ramp function goes."""
    x = -np.linspace(0, RAMP_REACH, 1 << 16)
    return float(-(x * _RAMPS[function](x)).min())


def ramp_steps(scale: float) -> float:
    """Table entries per unit of the input: all of them for what int16 reaches, up to 8."""
    reach = 32768 * scale
    # The last entry is that of -32768, or, from 8 on, of all that is beyond.
    return (
        GELU_TABLE_ENTRIES / RAMP_REACH if reach >= RAMP_REACH else (GELU_TABLE_ENTRIES - 1) / reach
    )


def ramp_table(scale: float, function: str) -> Array:
    """Table of ``f(x) - max(x, 0)`` over |x| as int16 reaches, in 1/256 of the input's unit."""
    x = -np.arange(GELU_TABLE_ENTRIES) / ramp_steps(scale)
    table = np.round(x * _RAMPS[function](x) * (1 << GELU_FRACTION_BITS) / scale)
    if 32768 * scale >= RAMP_REACH:
        table[-1] = 0
    # Only entries that no int16 at a very small scale reaches can leave the range.
    return np.maximum(table, np.iinfo(np.int32).min).astype(np.int32)
