"""Elements read and written at positions that are known at run time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    Operation,
    element,
    expect_element,
    expect_shape,
    shape,
)


def _check_range(indices: Array, size: int) -> None:
    if indices.size and not (0 <= indices.min() and indices.max() < size):
        raise IndexError(
            f"an index of {int(indices.min())} to {int(indices.max())} is not in {size}"
        )


class TakeOp(Operation, name="take", traits=[ext.Pure]):
    """Slices of x along an axis: result[..., i..., ...] = x[..., indices[i...], ...].

    x (P..., L, Q...), indices (N...) i32 or i64 in 0 .. L - 1; result (P..., N..., Q...).
    """

    x: ext.Operand[Any]
    indices: ext.Operand[Any]
    result: ext.Result[Any]
    axis: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        sizes, axis = shape(self.x), self.axis.value
        yield from expect_element("indices", self.indices, "i32", "i64")
        yield from expect_element("result", self.result, element(self.x))
        if not 0 <= axis < len(sizes):
            yield f"axis is {axis}, expected one of {len(sizes)} axes"
            return
        expected = (*sizes[:axis], *shape(self.indices), *sizes[axis + 1 :])
        yield from expect_shape("result", self.result, expected)

    def reference(self, *inputs: Array) -> Array:
        x, indices = inputs
        _check_range(indices, x.shape[self.axis.value])
        return np.take(x, indices, axis=self.axis.value)


class GatherOp(Operation, name="gather", traits=[ext.Pure]):
    """result[i, j, k] = x[i, indices[i, j, k], k] for axis 1, and likewise for others.

    x of any type, indices i64 of the same rank and no larger than x on the other axes.
    """

    x: ext.Operand[Any]
    indices: ext.Operand[Any]
    result: ext.Result[Any]
    axis: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        sizes, found, axis = shape(self.x), shape(self.indices), self.axis.value
        yield from expect_element("indices", self.indices, "i64")
        yield from expect_element("result", self.result, element(self.x))
        yield from expect_shape("result", self.result, found)
        if len(sizes) != len(found) or not 0 <= axis < len(sizes):
            yield f"indices have shape {list(found)} along axis {axis} of {list(sizes)}"
            return
        if any(found[a] > sizes[a] for a in range(len(sizes)) if a != axis):
            yield f"indices of shape {list(found)} reach beyond {list(sizes)}"

    def reference(self, *inputs: Array) -> Array:
        x, indices = inputs
        axis = self.axis.value
        _check_range(indices, x.shape[axis])
        kept = tuple(
            slice(None) if a == axis else slice(size) for a, size in enumerate(indices.shape)
        )
        return np.take_along_axis(x[kept], indices, axis)


class ScatterRowsOp(Operation, name="scatter_rows", traits=[ext.Pure]):
    """x with slices along an axis replaced: result[..., indices[n], ...] = rows[..., n, ...].

    x (P..., L, Q...), indices (N) i64 in 0 .. L - 1, rows (P..., N, Q...); where an index occurs
    twice the later row stays. `cache_update` is the same on axis 1, in place for states.
    """

    x: ext.Operand[Any]
    indices: ext.Operand[Any]
    rows: ext.Operand[Any]
    result: ext.Result[Any]
    axis: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        sizes, axis = list(shape(self.x)), self.axis.value
        yield from expect_element("indices", self.indices, "i64")
        yield from expect_element("rows", self.rows, element(self.x))
        yield from expect_element("result", self.result, element(self.x))
        yield from expect_shape("result", self.result, sizes)
        if not 0 <= axis < len(sizes) or len(shape(self.indices)) != 1:
            yield f"indices of shape {list(shape(self.indices))} do not fit axis {axis}"
            return
        sizes[axis] = shape(self.indices)[0]
        yield from expect_shape("rows", self.rows, sizes)

    def reference(self, *inputs: Array) -> Array:
        x, indices, rows = inputs
        axis = self.axis.value
        _check_range(indices, x.shape[axis])
        result = np.moveaxis(x, axis, 0).copy()
        for index, row in zip(indices, np.moveaxis(rows, axis, 0), strict=True):
            result[index] = row
        return np.ascontiguousarray(np.moveaxis(result, 0, axis))


class MaskedScatterOp(Operation, name="masked_scatter", traits=[ext.Pure]):
    """x with the elements where the mask is set replaced by those of source, in row-major order.

    How images take the place of their tokens. mask i1 as x; source of any shape with at least as
    many elements as the mask has set ones.
    """

    x: ext.Operand[Any]
    mask: ext.Operand[Any]
    source: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        yield from expect_element("mask", self.mask, "i1")
        yield from expect_element("source", self.source, element(self.x))
        yield from expect_element("result", self.result, element(self.x))
        yield from expect_shape("mask", self.mask, shape(self.x))
        yield from expect_shape("result", self.result, shape(self.x))
        if 0 in shape(self.source):
            yield "source has no elements"

    def reference(self, *inputs: Array) -> Array:
        x, mask, source = inputs
        count = int(mask.sum())
        if count > source.size:
            raise IndexError(f"the mask has {count} set elements, the source {source.size}")
        result = x.copy()
        result[mask] = source.reshape(-1)[:count]
        return result
