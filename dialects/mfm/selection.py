"""Choice by condition, and conversion of elements."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    Operation,
    element,
    expect_broadcast,
    expect_element,
    expect_shape,
    numpy_dtype,
    shape,
)


class SelectOp(Operation, name="select", traits=[ext.Pure]):
    """``condition ? lhs : rhs``, broadcast as NumPy does; condition i1, any one element type."""

    condition: ext.Operand[Any]
    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        yield from expect_element("condition", self.condition, "i1")
        yield from expect_element("rhs", self.rhs, element(self.lhs))
        yield from expect_element("result", self.result, element(self.lhs))
        for name, value in (("condition", self.condition), ("lhs", self.lhs), ("rhs", self.rhs)):
            yield from expect_broadcast(name, value, shape(self.result))

    def reference(self, *inputs: Array) -> Array:
        chosen = np.where(*inputs)
        return np.broadcast_to(chosen, shape(self.result))


class ConvertOp(Operation, name="convert", traits=[ext.Pure]):
    """The same values as another element type.

    Floats to integers towards zero, out of range saturated and NaN to 0; anything to i1 is
    ``x != 0``; i1 is 0 or 1; a narrower float rounds to even; a narrower integer wraps around.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        x, dtype = inputs[0], numpy_dtype(self.result)
        if dtype.kind == "b":
            return x != 0
        if x.dtype.kind == "f" and dtype.kind == "i":
            limits = np.iinfo(dtype)
            whole = np.trunc(np.nan_to_num(x.astype(np.float64), posinf=np.inf, neginf=-np.inf))
            inside = np.clip(whole, float(limits.min), float(limits.max))
            # The largest 64-bit integer is no float: what rounds up to 2^63 would wrap around.
            above = whole >= float(limits.max)
            with np.errstate(invalid="ignore"):
                return np.where(above, limits.max, inside.astype(dtype)).astype(dtype)
        with np.errstate(over="ignore"):
            return x.astype(dtype)
