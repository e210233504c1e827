"""Functions of one number, element by element."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy import special
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import curves
from girih.dialects.mfm.base import Array, Operation, element, expect_element, expect_shape, shape

_INTEGERS = ("i8", "i16", "i32", "i64")


def _curve(name: str) -> Callable[[Array], Array]:
    return lambda x: curves.evaluate(name, x)


UNARY: dict[str, tuple[Callable[[Array], Array], tuple[str, ...]]] = {
    **{name: (_curve(name), ("f32",)) for name in curves.CURVES},
    "absolute": (np.abs, ("f32", *_INTEGERS)),
    "bitwise_not": (np.invert, _INTEGERS),
    "erf": (lambda x: special.erf(x).astype(x.dtype), ("f32",)),
    "logical_not": (np.logical_not, ("i1",)),
    "negate": (np.negative, ("f32", *_INTEGERS)),
    "relu": (lambda x: np.maximum(x, x.dtype.type(0)), ("f32", *_INTEGERS)),
}
"""The functions by name: on NumPy arrays, and the element types that they take."""


class UnaryOp(Operation, name="unary", traits=[ext.Pure]):
    """``function(x)``, one of `UNARY`.

    x (...) f32, or integers for absolute, negate, relu, bitwise_not, or i1 for logical_not;
    result as x. The functions of `girih.dialects.curves` have the same bits everywhere.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]
    function: ir.StringAttr

    def check(self) -> Iterator[str]:
        name = self.function.value
        if name not in UNARY:
            yield f"function is {name!r}, expected one of {', '.join(sorted(UNARY))}"
            return
        yield from expect_element("x", self.x, *UNARY[name][1])
        yield from expect_element("result", self.result, element(self.x))
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        return UNARY[self.function.value][0](inputs[0])
