"""Tensors put together, padded and repeated: movement that makes something larger."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    IntegersAttribute,
    Operation,
    element,
    expect_broadcast,
    expect_element,
    expect_shape,
    shape,
)

MOST_PARTS = 16


class ConcatenateOp(Operation, name="concatenate", traits=[ext.Pure]):
    """Tensors one after another along an axis; any one element type; at most `MOST_PARTS`.

    One operand of any number would have to be of one type: an operation that is defined in Python
    has one constraint for all of it.
    """

    part0: ext.Operand[Any]
    result: ext.Result[Any]
    axis: ir.IntegerAttr
    part1: ext.Operand[Any] | None = None
    part2: ext.Operand[Any] | None = None
    part3: ext.Operand[Any] | None = None
    part4: ext.Operand[Any] | None = None
    part5: ext.Operand[Any] | None = None
    part6: ext.Operand[Any] | None = None
    part7: ext.Operand[Any] | None = None
    part8: ext.Operand[Any] | None = None
    part9: ext.Operand[Any] | None = None
    part10: ext.Operand[Any] | None = None
    part11: ext.Operand[Any] | None = None
    part12: ext.Operand[Any] | None = None
    part13: ext.Operand[Any] | None = None
    part14: ext.Operand[Any] | None = None
    part15: ext.Operand[Any] | None = None

    @classmethod
    def of(
        cls, parts: Sequence[ir.Value], result: ir.Type, axis: ir.IntegerAttr
    ) -> "ConcatenateOp":
        """The operation on parts, `MOST_PARTS` at most."""
        first, *others = parts
        rest = {f"part{number}": part for number, part in enumerate(others, start=1)}
        return cls(part0=first, result=result, axis=axis, **rest)

    @property
    def parts(self) -> list[ir.Value]:
        """All that are there, in order."""
        return list(self.operation.operands)

    def check(self) -> Iterator[str]:
        parts, axis = self.parts, self.axis.value
        sizes = list(shape(parts[0]))
        if not 0 <= axis < len(sizes):
            yield f"axis is {axis}, expected one of {len(sizes)} axes"
            return
        for index, part in enumerate(parts):
            yield from expect_element(f"part {index}", part, element(self.result))
            own = list(shape(part))
            if len(own) != len(sizes) or own[:axis] + own[axis + 1 :] != (
                sizes[:axis] + sizes[axis + 1 :]
            ):
                yield f"part {index} has shape {own}, which does not fit {sizes} on axis {axis}"
                return
        sizes[axis] = sum(shape(part)[axis] for part in parts)
        yield from expect_shape("result", self.result, sizes)

    def reference(self, *inputs: Array) -> Array:
        return np.concatenate(inputs, axis=self.axis.value)


class PadOp(Operation, name="pad", traits=[ext.Pure]):
    """Elements of one value before (`low`) and after (`high`) along each axis; any element type."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    low: IntegersAttribute
    high: IntegersAttribute
    value: ir.FloatAttr

    def check(self) -> Iterator[str]:
        low, high, sizes = list(self.low), list(self.high), shape(self.x)
        yield from expect_element("result", self.result, element(self.x))
        if len(low) != len(sizes) or len(high) != len(sizes) or min((*low, *high)) < 0:
            yield f"low {low} and high {high} are not counts for {len(sizes)} axes"
            return
        padded = [a + size + b for a, size, b in zip(low, sizes, high, strict=True)]
        yield from expect_shape("result", self.result, padded)

    def reference(self, *inputs: Array) -> Array:
        widths = list(zip(self.low, self.high, strict=True))
        fill = np.asarray(self.value.value).astype(inputs[0].dtype)
        return np.pad(inputs[0], widths, constant_values=fill)


class BroadcastOp(Operation, name="broadcast", traits=[ext.Pure]):
    """x repeated along axes of size 1, and along new leading axes, as NumPy broadcasts."""

    x: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        yield from expect_element("result", self.result, element(self.x))
        yield from expect_broadcast("x", self.x, shape(self.result))

    def reference(self, *inputs: Array) -> Array:
        return np.broadcast_to(inputs[0], shape(self.result))
