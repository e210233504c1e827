"""What patterns over `mfm` operations are written with."""

from __future__ import annotations

from typing import TypeVar

from torch_mlir import ir

from girih.dialects.mfm import AddOp, BinaryOp, ParameterOp, ReshapeOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation

_Op = TypeVar("_Op", bound=ir.OpView)


def defined_by(value: ir.Value, kind: type[_Op]) -> _Op | None:
    """The operation that makes the value, if it is of the kind."""
    owner = value.owner
    if isinstance(owner, ir.Block) or not isinstance(owner.opview, kind):
        return None
    return owner.opview


def unshaped(value: ir.Value) -> ir.Value:
    """The value before any reshape."""
    while (reshape := defined_by(value, ReshapeOp)) is not None:
        value = reshape.x
    return value


def number(value: ir.Value, compilation: Compilation) -> float | None:
    """The number that a constant of one element is, else None."""
    parameter = defined_by(unshaped(value), ParameterOp)
    if parameter is None:
        return None
    array = compilation.parameters[parameter.parameter.value]
    return float(array.reshape(())) if array.size == 1 else None


def binary(value: ir.Value, *functions: str) -> BinaryOp | None:
    """The binary operation of one of the functions that makes the value."""
    op = defined_by(value, BinaryOp)
    return op if op is not None and op.function.value in functions else None


def with_number(op: BinaryOp | AddOp, compilation: Compilation) -> tuple[ir.Value, float] | None:
    """(the other operand, the number) where one operand of a commutative operation is a number."""
    for value, constant in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
        if shape(value) == shape(op.result):
            found = number(constant, compilation)
            if found is not None:
                return value, found
    return None


def used_once(value: ir.Value) -> bool:
    """Whether one operand of one operation is all that reads the value."""
    return len(list(value.uses)) == 1
