"""Elementwise functions of two tensors beside addition."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
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


def _divide(lhs: Array, rhs: Array) -> Array:
    """Towards zero on integers, as C and torch's ``trunc`` do; IEEE on floats."""
    with np.errstate(all="ignore"):
        if lhs.dtype.kind == "f":
            return lhs / rhs
        safe = np.where(rhs == 0, 1, rhs)
        quotient = np.abs(lhs) // np.abs(safe) * np.sign(lhs) * np.sign(safe)
        return np.where(rhs == 0, 0, quotient).astype(lhs.dtype)


def _floor_divide(lhs: Array, rhs: Array) -> Array:
    with np.errstate(all="ignore"):
        if lhs.dtype.kind == "f":
            return np.floor(lhs / rhs)
        return np.where(rhs == 0, 0, lhs // np.where(rhs == 0, 1, rhs)).astype(lhs.dtype)


def _quiet(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def run(lhs: Array, rhs: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(lhs, rhs)

    return run


FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "subtract": _quiet(np.subtract),
    "multiply": _quiet(np.multiply),
    "divide": _divide,
    "floor_divide": _floor_divide,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "power": _quiet(np.power),
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}
"""Meaning of each function; integers wrap around. Division by zero of integers gives 0."""

LOGICAL = ("and", "or", "xor")
FLOAT_ONLY = ("power",)


class BinaryOp(Operation, name="binary", traits=[ext.Pure]):
    """``function(lhs, rhs)``, broadcast as NumPy does; one element type, that of the result.

    Floats and integers; `and`, `or`, `xor` on integers and i1, `power` on floats. NaN in either
    operand of minimum and maximum gives NaN.
    """

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    result: ext.Result[Any]
    function: ir.StringAttr

    def check(self) -> Iterator[str]:
        function, kind = self.function.value, element(self.lhs)
        for name, value in (("lhs", self.lhs), ("rhs", self.rhs)):
            yield from expect_broadcast(name, value, shape(self.result))
        try:
            broadcast = np.broadcast_shapes(shape(self.lhs), shape(self.rhs))
            yield from expect_shape("result", self.result, broadcast)
        except ValueError:
            pass
        yield from expect_element("rhs", self.rhs, kind)
        yield from expect_element("result", self.result, kind)
        if function not in FUNCTIONS:
            yield f"function is {function!r}, expected one of {', '.join(FUNCTIONS)}"
        elif (function in LOGICAL and kind.startswith("f")) or (
            function in FLOAT_ONLY and not kind.startswith("f")
        ):
            yield f"lhs has element type {kind}, which {function} does not take"
        elif kind == "i1" and function not in LOGICAL:
            yield f"lhs has element type i1, which {function} does not take"

    def reference(self, *inputs: Array) -> Array:
        result = FUNCTIONS[self.function.value](*inputs)
        return np.asarray(result).astype(numpy_dtype(self.result), copy=False)
