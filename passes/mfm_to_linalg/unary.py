"""`unary`: the curves of `girih.dialects.curves`, operation for operation, and a few others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.dialects import curves
from girih.passes.mfm_to_linalg import build, scalar


class _Real:
    """A float64 SSA value with Python's operators: one `arith` operation each."""

    def __init__(self, value: ir.Value) -> None:
        self.value = value

    def __add__(self, other: Any) -> _Real:
        return _Real(arith.AddFOp(self.value, _value(other)).result)

    __radd__ = __add__

    def __sub__(self, other: Any) -> _Real:
        return _Real(arith.SubFOp(self.value, _value(other)).result)

    def __rsub__(self, other: Any) -> _Real:
        return _Real(arith.SubFOp(_value(other), self.value).result)

    def __mul__(self, other: Any) -> _Real:
        return _Real(arith.MulFOp(self.value, _value(other)).result)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> _Real:
        return _Real(arith.DivFOp(self.value, _value(other)).result)

    def __rtruediv__(self, other: Any) -> _Real:
        return _Real(arith.DivFOp(_value(other), self.value).result)

    def __lt__(self, other: Any) -> ir.Value:
        return scalar.compare("lt", self.value, _value(other))

    def __gt__(self, other: Any) -> ir.Value:
        return scalar.compare("gt", self.value, _value(other))


def _value(number: _Real | float) -> ir.Value:
    if isinstance(number, _Real):
        return number.value
    return scalar.constant(number, ir.F64Type.get())


class _Emitter:
    """`curves.Arithmetic` that emits operations."""

    def select(self, condition: ir.Value, chosen: Any, other: Any) -> _Real:
        return _Real(arith.SelectOp(condition, _value(chosen), _value(other)).result)

    def round(self, x: _Real) -> _Real:
        return _Real(math.RoundEvenOp(x.value).result)

    def floor(self, x: _Real) -> _Real:
        return _Real(math.FloorOp(x.value).result)

    def sqrt(self, x: _Real) -> _Real:
        return _Real(math.SqrtOp(x.value).result)

    def power_of_two(self, exponent: _Real) -> _Real:
        # The conversion must never see not-a-number. To 32 bits, for which vectors have it.
        number = scalar.compare("eq", exponent.value, exponent.value)
        safe = self.select(number, exponent, 0.0)
        narrow = arith.FPToSIOp(scalar.integer_type(32), safe.value).result
        bits = scalar.shift_left(scalar.add(scalar.extend(narrow, 64), 1023), 52)
        return _Real(arith.BitcastOp(ir.F64Type.get(), bits).result)

    def split(self, x: _Real) -> tuple[_Real, _Real]:
        wide = ir.F64Type.get()
        bits = arith.BitcastOp(scalar.integer_type(64), x.value).result
        fraction = scalar.bit_and(bits, (1 << 52) - 1)
        one = scalar.constant(1023 << 52, fraction.type)
        mantissa = arith.BitcastOp(wide, arith.OrIOp(fraction, one).result).result
        exponent = scalar.truncate(scalar.subtract(scalar.shift_right(bits, 52), 1023), 32)
        return _Real(mantissa), _Real(arith.SIToFPOp(wide, exponent).result)


def evaluate(name: str, x: ir.Value) -> ir.Value:
    """A curve at an f32 value."""
    ops, kind = _Emitter(), x.type
    wide = curves.flush(ops, _Real(arith.ExtFOp(ir.F64Type.get(), x).result))
    value = curves.flush(ops, curves.CURVES[name](ops, wide))
    return arith.TruncFOp(kind, value.value).result


def _is_float(x: ir.Value) -> bool:
    return isinstance(x.type, ir.F32Type)


def _absolute(x: ir.Value) -> ir.Value:
    if _is_float(x):
        return math.AbsFOp(x).result
    return scalar.maximum(x, scalar.subtract(0, x))


def _bitwise_not(x: ir.Value) -> ir.Value:
    return arith.XOrIOp(x, scalar.constant(-1, x.type)).result


def _negate(x: ir.Value) -> ir.Value:
    return arith.NegFOp(x).result if _is_float(x) else scalar.subtract(0, x)


def _relu(x: ir.Value) -> ir.Value:
    if _is_float(x):
        return arith.MaximumFOp(x, scalar.constant(0.0, x.type)).result
    return scalar.maximum(x, 0)


_OTHERS: dict[str, Callable[[ir.Value], ir.Value]] = {
    "absolute": _absolute,
    "bitwise_not": _bitwise_not,
    "erf": lambda x: math.ErfOp(x).result,
    "logical_not": _bitwise_not,
    "negate": _negate,
    "relu": _relu,
}


def lower_unary(op: Any) -> ir.Value:
    """The function of every element."""
    name = op.function.value
    body = _OTHERS.get(name) or (lambda x: evaluate(name, x))
    return build.elementwise([op.x], build.shape(op.result), build.element(op.result), body)
