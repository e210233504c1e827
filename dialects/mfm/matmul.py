"""Product of two activations, batch by batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    BooleanAttribute,
    Operation,
    expect_element,
    expect_shape,
    shape,
)


class MatmulOp(Operation, name="matmul", traits=[ext.Pure]):
    """``lhs @ rhs``: lhs (B..., M, K) f32, rhs (B..., K, N) f32, or (B..., N, K) if transposed.

    The leading axes are equal: what broadcasts is broadcast before. Result (B..., M, N).
    """

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]
    transposed: BooleanAttribute

    least_axes = {"lhs": 2, "rhs": 2}

    @property
    def is_transposed(self) -> bool:
        """Whether rhs is (B..., N, K)."""
        return bool(self.transposed.value)

    def check(self) -> Iterator[str]:
        yield from expect_element("lhs", self.lhs, "f32")
        yield from expect_element("rhs", self.rhs, "f32")
        yield from expect_element("result", self.result, "f32")
        *batch, rows, depth = shape(self.lhs)
        columns = shape(self.rhs)[-2 if self.is_transposed else -1]
        inner = (columns, depth) if self.is_transposed else (depth, columns)
        yield from expect_shape("rhs", self.rhs, (*batch, *inner))
        yield from expect_shape("result", self.result, (*batch, rows, columns))

    def reference(self, *inputs: Array) -> Array:
        lhs, rhs = inputs
        return np.matmul(lhs, rhs.swapaxes(-1, -2) if self.is_transposed else rhs)
