"""`select` and `convert`."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith

from girih.passes.mfm_to_linalg import build, scalar


def lower_select(op: Any) -> ir.Value:
    """A choice per element."""
    return build.elementwise(
        [op.condition, op.lhs, op.rhs],
        build.shape(op.result),
        build.element(op.result),
        lambda condition, a, b: arith.SelectOp(condition, a, b).result,
    )


def lower_convert(op: Any) -> ir.Value:
    """A conversion per element."""
    source, target = build.element(op.x), build.element(op.result)
    if source == target:
        return op.x
    return build.elementwise(
        [op.x], build.shape(op.result), target, lambda a: _convert(a, source, target)
    )


def _convert(a: ir.Value, source: ir.Type, target: ir.Type) -> ir.Value:
    source_bits, target_bits = _bits(source), _bits(target)
    if target_bits == 1:
        return _is_not_zero(a, source)
    if isinstance(source, ir.IntegerType):
        if not isinstance(target, ir.IntegerType):
            cast = arith.UIToFPOp if source_bits == 1 else arith.SIToFPOp
            return cast(target, a).result
        if target_bits < source_bits:
            return arith.TruncIOp(target, a).result
        widen = arith.ExtUIOp if source_bits == 1 else arith.ExtSIOp
        return widen(target, a).result
    if isinstance(target, ir.IntegerType):
        return _saturated(a, source, target)
    if target_bits < source_bits:
        return arith.TruncFOp(target, a).result
    return arith.ExtFOp(target, a).result


def _is_not_zero(a: ir.Value, source: ir.Type) -> ir.Value:
    if isinstance(source, ir.IntegerType):
        return scalar.compare("ne", a, 0)
    # Unordered: NaN is not zero.
    predicate = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 13)
    return arith.CmpFOp(predicate, a, scalar.constant(0.0, source)).result


def _saturated(a: ir.Value, source: ir.Type, target: ir.Type) -> ir.Value:
    """Towards zero; what is beyond the range becomes its end, NaN becomes 0."""
    bits = _bits(target)
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    low, high = scalar.constant(float(least), source), scalar.constant(float(most), source)
    is_nan = scalar.compare("ne", a, a)
    below = scalar.compare("le", a, low)
    above = scalar.compare("ge", a, high)
    # The conversion of what is out of range is undefined, so it must not be reached.
    outside = arith.OrIOp(arith.OrIOp(below, above).result, is_nan).result
    zero = scalar.constant(0.0, source)
    inside = arith.FPToSIOp(target, arith.SelectOp(outside, zero, a).result).result
    result = arith.SelectOp(below, scalar.constant(least, target), inside).result
    return arith.SelectOp(above, scalar.constant(most, target), result).result


def _bits(type_: ir.Type) -> int:
    return type_.width  # type: ignore[attr-defined]
