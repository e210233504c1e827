"""Softmax over the last axis."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import Array, Operation, expect_element, expect_shape, shape


class SoftmaxOp(Operation, name="softmax", traits=[ext.Pure]):
    """``exp(x - max(x)) / sum(exp(x - max(x)))`` over the last axis; x (..., C) f32, result as x.

    A row of -inf alone gives NaN, as in torch.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]

    least_axes = {"x": 1}

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from expect_element("result", self.result, "f32")
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        with np.errstate(invalid="ignore"):
            weights = np.exp(x - x.max(axis=-1, keepdims=True))
        return weights / weights.sum(axis=-1, keepdims=True)
