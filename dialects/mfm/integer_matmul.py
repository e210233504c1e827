"""Quantized product of two activations."""

from collections.abc import Iterator
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    BooleanAttribute,
    Operation,
    expect_element,
    expect_shape,
    expect_shift,
    numpy_dtype,
    shape,
)

DEPTH_LIMIT = 1 << 16
"""Sums of this many int8 products stay within int32."""


class IntegerMatmulOp(Operation, name="integer_matmul", traits=[ext.Pure]):
    """``rescale(lhs @ rhs, multiplier, shift)``, sums exact in int32.

    lhs (B..., M, K) i8, rhs (B..., K, N) i8, or (B..., N, K) with `transposed`; equal leading
    axes; result (B..., M, N) i8 or i16. The matrix unit takes either orientation as it is.
    docs/numerics.md, integer_matmul.
    """

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]
    multiplier: ir.IntegerAttr
    shift: ir.IntegerAttr
    transposed: BooleanAttribute

    least_axes = {"lhs": 2, "rhs": 2}

    def check(self) -> Iterator[str]:
        yield from expect_element("lhs", self.lhs, "i8")
        yield from expect_element("rhs", self.rhs, "i8")
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shift("shift", self.shift.value)
        if not 0 <= self.multiplier.value < 1 << 31:
            yield f"multiplier is {self.multiplier.value}, expected 0 to 2^31 - 1"
        *batch, rows, depth = shape(self.lhs)
        columns = shape(self.rhs)[-2 if self.is_transposed else -1]
        inner = (columns, depth) if self.is_transposed else (depth, columns)
        yield from expect_shape("rhs", self.rhs, (*batch, *inner))
        yield from expect_shape("result", self.result, (*batch, rows, columns))
        if depth >= DEPTH_LIMIT:
            yield f"sums {depth} products, expected fewer than {DEPTH_LIMIT}"

    @property
    def is_transposed(self) -> bool:
        """Whether rhs is (B..., N, K)."""
        return bool(self.transposed.value)

    def reference(self, *inputs: Array) -> Array:
        lhs, rhs = inputs
        rhs = rhs.swapaxes(-1, -2) if self.is_transposed else rhs
        return arithmetic.rescale(
            arithmetic.integer_matmul(lhs, rhs),
            self.multiplier.value,
            self.shift.value,
            numpy_dtype(self.result),
        )
