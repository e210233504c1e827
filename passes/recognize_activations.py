"""Activations that a model writes out --> the operation that they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import (
    AddOp,
    BinaryOp,
    BroadcastOp,
    CompareOp,
    ConvertOp,
    GeluOp,
    MultiplyScalarOp,
    ParameterOp,
    SelectOp,
    UnaryOp,
)
from girih.dialects.mfm.activation import evaluate_gelu
from girih.dialects.mfm.hollow import is_unknown
from girih.dialects.mfm.parameter import widened
from girih.dialects.mfm.unary import UNARY
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of

_POINTWISE = (
    AddOp,
    BinaryOp,
    CompareOp,
    ConvertOp,
    GeluOp,
    MultiplyScalarOp,
    SelectOp,
    UnaryOp,
)
_LAST = {"multiply", "divide", "maximum", "minimum", "log", "reciprocal"}
"""Functions of binary and unary operations that end an activation; so may a scale or a choice."""
_KNOWN = ("silu", "quick_gelu", "relu", "sigmoid", "hard_swish", "hard_sigmoid", "elu", "softplus")
_LARGEST = 16
"""Operations of which an activation may be made."""
_LARGEST_FILL = 65536
"""Elements up to which a weight is looked at for one number everywhere."""
_TOLERANCE = 2e-6
"""Largest error, absolute and relative, of an activation written out in float32."""


@dataclass(frozen=True)
class RecognizeActivations:
    """Replace functions of one number, written out, by one operation.

    ```
    %a = "mfm.multiply_scalar"(%x) {factor = 1.702}
    %b = "mfm.unary"(%a) {function = "sigmoid"}
    %c = "mfm.binary"(%x, %b) {function = "multiply"}
    -->
    %c = "mfm.unary"(%x) {function = "quick_gelu"}
    ```
    However it is written: what is computed from one value and numbers alone is evaluated at many
    places, and is an activation if it has its values there, within 2e-6. (The two forms of gelu
    are 5e-4 apart.)
    """

    name: ClassVar[str] = "recognize-activations"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function, top down."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                with ir.InsertionPoint(op), op.location:
                    _recognize(op, compilation)
            erase_unused(function.entry_block)


def _recognize(op: ir.OpView, compilation: Compilation) -> None:
    if not _may_be_last(op):
        return
    result = op.results[0]
    values = _cone(op, compilation)
    for x in values:
        if x.type != result.type:
            continue
        try:
            found = _Evaluation(compilation, x).of(result)
        except _OtherValueError:
            continue
        name = _name_of(found)
        if name is not None and (len(values) > 1 or name == "relu"):
            result.replace_all_uses_with(_activation(x, name))
            return


def _may_be_last(op: ir.OpView) -> bool:
    if isinstance(op, BinaryOp | UnaryOp):
        return op.function.value in _LAST and str(op.result.type.element_type) == "f32"
    return isinstance(op, SelectOp | MultiplyScalarOp)


def _cone(op: ir.OpView, compilation: Compilation) -> list[ir.Value]:
    """What an operation is computed from, by pointwise operations alone; the farthest first."""
    values, waiting, count = list[ir.Value](), [op], 0
    while waiting and count < _LARGEST:
        current, count = waiting.pop(0), count + 1
        for operand in current.operands:
            if operand in values or _number(operand, compilation) is not None:
                continue
            values.append(operand)
            owner = operand.owner
            if not isinstance(owner, ir.Block) and isinstance(owner.opview, _POINTWISE):
                waiting.append(owner.opview)
    return values[::-1]


def _number(value: ir.Value, compilation: Compilation) -> NDArray[Any] | None:
    """The number that a value is everywhere, known now, else None."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    if isinstance(owner.opview, BroadcastOp):
        return _number(owner.opview.x, compilation)
    if not isinstance(owner.opview, ParameterOp):
        return None
    array = compilation.parameters[owner.opview.parameter.value]
    if is_unknown(array) or array.size > _LARGEST_FILL or np.any(array != array.reshape(-1)[:1]):
        return None
    return widened(array.reshape(-1)[:1]).reshape(())


class _OtherValueError(Exception):
    """A value depends on more than the one in question."""


class _Evaluation:
    """Values of a function of one tensor, element by element, at `_places`."""

    def __init__(self, compilation: Compilation, x: ir.Value) -> None:
        self.compilation = compilation
        self.values: dict[ir.Value, NDArray[Any]] = {x: _places()}
        self.count = 0

    def of(self, value: ir.Value) -> NDArray[Any]:
        """The value's own, everywhere; raises `_OtherValueError`."""
        if value not in self.values:
            self.values[value] = self._computed(value)
        return self.values[value]

    def _computed(self, value: ir.Value) -> NDArray[Any]:
        number = _number(value, self.compilation)
        if number is not None:
            return number
        owner = value.owner
        self.count += 1
        if isinstance(owner, ir.Block) or self.count > _LARGEST:
            raise _OtherValueError
        if not isinstance(owner.opview, _POINTWISE):
            raise _OtherValueError
        operands = [self.of(operand) for operand in owner.operands]
        if isinstance(owner.opview, SelectOp):
            # Its own meaning has its own shape.
            return np.where(*operands)
        with np.errstate(all="ignore"):
            return owner.opview.reference(*operands)


@functools.cache
def _places() -> NDArray[np.float32]:
    far = [-200.0, -60.0, -25.0, -1e-3, 1e-3, 25.0, 60.0, 200.0]
    return np.concatenate([np.linspace(-12, 12, 241), far]).astype(np.float32)


@functools.cache
def _activations() -> dict[str, NDArray[np.float32]]:
    places = _places()
    with np.errstate(all="ignore"):
        named = {name: UNARY[name][0](places) for name in _KNOWN}
        gelus = {f"gelu.{form}": evaluate_gelu(places, form) for form in ("none", "tanh")}
    return {**named, **gelus}


def _name_of(values: NDArray[Any]) -> str | None:
    if values.shape != _places().shape or values.dtype != np.float32:
        return None
    for name, expected in _activations().items():
        if np.allclose(values, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return name
    return None


def _activation(x: ir.Value, name: str) -> ir.Value:
    function = ir.StringAttr.get(name.removeprefix("gelu."))
    if name.startswith("gelu."):
        return GeluOp(x=x, approximate=function, result=x.type).result
    return UnaryOp(x=x, function=function, result=x.type).result
