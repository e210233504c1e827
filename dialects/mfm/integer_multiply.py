"""Quantized elementwise product."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    expect_broadcast,
    expect_element,
    expect_shape,
    expect_shift,
    numpy_dtype,
    shape,
)


class IntegerMultiplyOp(Operation, name="integer_multiply", traits=[ext.Pure]):
    """Quantized product with one rounding, as in gated feed-forward layers.

    lhs, rhs i8 or i16, broadcast as NumPy does; result i8 or i16:
    ``clamp((lhs * rhs * multiplier + half(shift)) >> shift)``, exact in int64.
    docs/numerics.md, integer_multiply.
    """

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]
    multiplier: ir.IntegerAttr
    shift: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        for name, value in (("lhs", self.lhs), ("rhs", self.rhs)):
            yield from expect_element(name, value, "i8", "i16")
            yield from expect_broadcast(name, value, shape(self.result))
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shift("shift", self.shift.value)
        if not 0 <= self.multiplier.value < 1 << 31:
            yield f"multiplier is {self.multiplier.value}, expected 0 to 2^31 - 1"
        try:
            expected = np.broadcast_shapes(shape(self.lhs), shape(self.rhs))
        except ValueError:
            return
        yield from expect_shape("result", self.result, expected)

    def reference(self, *inputs: Array) -> Array:
        product = inputs[0].astype(np.int32) * inputs[1].astype(np.int32)
        return arithmetic.rescale(
            product,
            self.multiplier.value,
            self.shift.value,
            numpy_dtype(self.result),
        )
