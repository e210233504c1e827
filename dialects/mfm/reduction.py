"""Reductions over axes, running sums, and the position of the largest element."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    IntegersAttribute,
    Operation,
    element,
    expect_element,
    expect_shape,
    numpy_dtype,
    shape,
)

REDUCTIONS: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "product": np.prod,
    "maximum": np.max,
    "minimum": np.min,
    "any": np.any,
    "all": np.all,
}


class ReduceOp(Operation, name="reduce", traits=[ext.Pure]):
    """``function`` over axes, which disappear; element type as x.

    Integers wrap around. `any` and `all` take i1. The order of a float sum is not stated.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]
    function: ir.StringAttr
    axes: IntegersAttribute

    def check(self) -> Iterator[str]:
        sizes, axes, function = shape(self.x), list(self.axes), self.function.value
        yield from expect_element("result", self.result, element(self.x))
        if function not in REDUCTIONS:
            yield f"function is {function!r}, expected one of {', '.join(REDUCTIONS)}"
        if (function in ("any", "all")) != (element(self.x) == "i1"):
            yield f"x has element type {element(self.x)}, which {function} does not take"
        if sorted(set(axes)) != axes or not all(0 <= axis < len(sizes) for axis in axes):
            yield f"axes are {axes}, expected ascending axes of a tensor of rank {len(sizes)}"
            return
        kept = [size for axis, size in enumerate(sizes) if axis not in axes]
        yield from expect_shape("result", self.result, kept)

    def reference(self, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            reduced = REDUCTIONS[self.function.value](inputs[0], axis=tuple(self.axes))
        return np.asarray(reduced).astype(numpy_dtype(self.result), copy=False)


class CumulativeSumOp(Operation, name="cumulative_sum", traits=[ext.Pure]):
    """Running sums along an axis, the element itself included; as x, floats and integers."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    axis: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("result", self.result, element(self.x))
        yield from expect_shape("result", self.result, shape(self.x))
        if not 0 <= self.axis.value < len(shape(self.x)):
            yield f"axis is {self.axis.value}, expected one of {len(shape(self.x))} axes"

    def reference(self, *inputs: Array) -> Array:
        return np.cumsum(inputs[0], axis=self.axis.value, dtype=inputs[0].dtype)


class ArgmaxOp(Operation, name="argmax", traits=[ext.Pure]):
    """Position (i64) of the largest element along an axis, the first of several; no NaN."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    axis: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        sizes, axis = list(shape(self.x)), self.axis.value
        yield from expect_element("result", self.result, "i64")
        if not 0 <= axis < len(sizes):
            yield f"axis is {axis}, expected one of {len(sizes)} axes"
            return
        yield from expect_shape("result", self.result, sizes[:axis] + sizes[axis + 1 :])

    def reference(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0].argmax(axis=self.axis.value), np.int64)
