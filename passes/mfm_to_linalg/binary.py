"""`binary`: elementwise functions of two tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.passes.mfm_to_linalg import build, scalar

Pair = Callable[[ir.Value, ir.Value], ir.Value]


def _floor_divide_float(a: ir.Value, b: ir.Value) -> ir.Value:
    return math.FloorOp(arith.DivFOp(a, b).result).result


def _guarded(divide: Pair) -> Pair:
    """Integer division whose result is 0 where the divisor is."""

    def body(a: ir.Value, b: ir.Value) -> ir.Value:
        is_zero = scalar.compare("eq", b, 0)
        safe = arith.SelectOp(is_zero, scalar.constant(1, b.type), b).result
        return arith.SelectOp(is_zero, scalar.constant(0, b.type), divide(a, safe)).result

    return body


_FLOAT: dict[str, Pair] = {
    "subtract": lambda a, b: arith.SubFOp(a, b).result,
    "multiply": lambda a, b: arith.MulFOp(a, b).result,
    "divide": lambda a, b: arith.DivFOp(a, b).result,
    "floor_divide": _floor_divide_float,
    "minimum": lambda a, b: arith.MinimumFOp(a, b).result,
    "maximum": lambda a, b: arith.MaximumFOp(a, b).result,
    "power": lambda a, b: math.PowFOp(a, b).result,
}
_INTEGER: dict[str, Pair] = {
    "subtract": lambda a, b: arith.SubIOp(a, b).result,
    "multiply": lambda a, b: arith.MulIOp(a, b).result,
    "divide": _guarded(lambda a, b: arith.DivSIOp(a, b).result),
    "floor_divide": _guarded(lambda a, b: arith.FloorDivSIOp(a, b).result),
    "minimum": lambda a, b: arith.MinSIOp(a, b).result,
    "maximum": lambda a, b: arith.MaxSIOp(a, b).result,
    "and": lambda a, b: arith.AndIOp(a, b).result,
    "or": lambda a, b: arith.OrIOp(a, b).result,
    "xor": lambda a, b: arith.XOrIOp(a, b).result,
}


def lower_binary(op: Any) -> ir.Value:
    """One arithmetic operation per element."""
    kind = build.element(op.result)
    table = _INTEGER if isinstance(kind, ir.IntegerType) else _FLOAT
    sizes = build.shape(op.result)
    return build.elementwise([op.lhs, op.rhs], sizes, kind, table[op.function.value])
