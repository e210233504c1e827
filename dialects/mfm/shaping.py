"""Operations that move elements and compute nothing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    IntegersAttribute,
    Operation,
    element,
    expect_element,
    expect_shape,
    shape,
)


class ReshapeOp(Operation, name="reshape", traits=[ext.Pure]):
    """The same elements in row-major order under another shape."""

    x: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        yield from expect_element("result", self.result, element(self.x))
        if np.prod(shape(self.x)) != np.prod(shape(self.result)):
            yield f"cannot reshape {list(shape(self.x))} to {list(shape(self.result))}"

    def reference(self, *inputs: Array) -> Array:
        return inputs[0].reshape(shape(self.result))


class TransposeOp(Operation, name="transpose", traits=[ext.Pure]):
    """Axis i of the result is axis permutation[i] of x."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    permutation: IntegersAttribute

    def check(self) -> Iterator[str]:
        order, own = list(self.permutation), shape(self.x)
        yield from expect_element("result", self.result, element(self.x))
        if sorted(order) != list(range(len(own))):
            yield f"permutation is {order}, expected an order of 0 to {len(own) - 1}"
            return
        yield from expect_shape("result", self.result, [own[axis] for axis in order])

    def reference(self, *inputs: Array) -> Array:
        return np.ascontiguousarray(inputs[0].transpose(list(self.permutation)))


class SliceOp(Operation, name="slice", traits=[ext.Pure]):
    """Elements offset, offset + stride, ... along each axis; the result's shape says how many."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    offsets: IntegersAttribute
    strides: IntegersAttribute

    def check(self) -> Iterator[str]:
        yield from expect_element("result", self.result, element(self.x))
        own, out = shape(self.x), shape(self.result)
        offsets, strides = list(self.offsets), list(self.strides)
        if not len(own) == len(out) == len(offsets) == len(strides):
            yield f"has {len(offsets)} offsets and {len(strides)} strides for rank {len(own)}"
            return
        for axis, (size, count, start, step) in enumerate(
            zip(own, out, offsets, strides, strict=True)
        ):
            last = start + (count - 1) * step
            if count < 1 or start < 0 or step < 1 or last >= size:
                yield f"reads elements {start} to {last} of axis {axis}, which has {size}"

    def reference(self, *inputs: Array) -> Array:
        picks = tuple(
            slice(start, start + (count - 1) * step + 1, step)
            for start, step, count in zip(
                self.offsets, self.strides, shape(self.result), strict=True
            )
        )
        return np.ascontiguousarray(inputs[0][picks])
