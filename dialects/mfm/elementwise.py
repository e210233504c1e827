"""Elementwise arithmetic and comparison."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    element,
    expect_broadcast,
    expect_element,
    expect_shape,
    expect_shift,
    numpy_dtype,
    shape,
)

PREDICATES = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


class _Binary(Operation):
    def _check_broadcast(self) -> Iterator[str]:
        for name, value in (("lhs", self.lhs), ("rhs", self.rhs)):
            yield from expect_broadcast(name, value, shape(self.result))
        try:
            expected = np.broadcast_shapes(shape(self.lhs), shape(self.rhs))
        except ValueError:
            return
        yield from expect_shape("result", self.result, expected)


class AddOp(_Binary, name="add", traits=[ext.Pure]):
    """``lhs + rhs``, broadcast as NumPy does; one element type, integers wrap around."""

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        yield from self._check_broadcast()
        yield from expect_element("rhs", self.rhs, element(self.lhs))
        yield from expect_element("result", self.result, element(self.lhs))

    def reference(self, *inputs: Array) -> Array:
        return inputs[0] + inputs[1]


class IntegerAddOp(_Binary, name="integer_add", traits=[ext.Pure]):
    """Quantized addition with one rounding.

    lhs, rhs i8 or i16, broadcast as NumPy does; result i8 or i16:
    ``clamp((lhs * lhs_multiplier + rhs * rhs_multiplier + half(shift)) >> shift)``.
    """

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]
    lhs_multiplier: ir.IntegerAttr
    rhs_multiplier: ir.IntegerAttr
    shift: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        yield from self._check_broadcast()
        for name, value in (("lhs", self.lhs), ("rhs", self.rhs), ("result", self.result)):
            yield from expect_element(name, value, "i8", "i16")
        yield from expect_shift("shift", self.shift.value)
        for name, multiplier in (("lhs", self.lhs_multiplier), ("rhs", self.rhs_multiplier)):
            if not 0 <= multiplier.value < 1 << 31:
                yield f"{name}_multiplier is {multiplier.value}, expected 0 to 2^31 - 1"

    def reference(self, *inputs: Array) -> Array:
        lhs, rhs = (part.astype(np.int64) for part in inputs)
        shift = self.shift.value
        total = lhs * self.lhs_multiplier.value + rhs * self.rhs_multiplier.value
        return arithmetic.saturate(
            (total + arithmetic.half(shift)) >> shift, numpy_dtype(self.result)
        )


class MultiplyScalarOp(Operation, name="multiply_scalar", traits=[ext.Pure]):
    """``x * factor`` in f32."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    factor: ir.FloatAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        return inputs[0] * np.float32(self.factor.value)


class CompareOp(_Binary, name="compare", traits=[ext.Pure]):
    """``lhs predicate rhs``, broadcast as NumPy does; any one element type, result i1."""

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]
    predicate: ir.StringAttr

    def check(self) -> Iterator[str]:
        yield from self._check_broadcast()
        yield from expect_element("rhs", self.rhs, element(self.lhs))
        yield from expect_element("result", self.result, "i1")
        if self.predicate.value not in PREDICATES:
            yield f"predicate is {self.predicate.value!r}, expected one of {', '.join(PREDICATES)}"

    def reference(self, *inputs: Array) -> Array:
        return PREDICATES[self.predicate.value](*inputs)
