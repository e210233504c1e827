"""Scalar arithmetic inside the body of a linalg operation: docs/numerics.md, one element at a time.

Every function takes scalar SSA values and adds `arith` or `math` operations where the caller's
insertion point stands. Plain Python numbers become constants of the other operand's type.
"""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith

_PREDICATES = {"eq": 0, "ne": 1, "lt": 2, "le": 3, "gt": 4, "ge": 5}
_UNSIGNED = {"lt": 6, "le": 7, "gt": 8, "ge": 9}
_ORDERED = {"eq": 1, "gt": 2, "ge": 3, "lt": 4, "le": 5, "ne": 13}

SCORE_HIDDEN = -32768
LAST_EXPONENT = 8
"""Powers of two below the maximum at which an attention weight is still above 0."""


def integer_type(width: int) -> ir.Type:
    """The signless integer type of a width."""
    return ir.IntegerType.get_signless(width)


def width_of(value: ir.Value) -> int:
    """Bits of an integer value."""
    return ir.IntegerType(value.type).width


def constant(value: float, type_: ir.Type) -> ir.Value:
    """A constant of an integer, index or float type."""
    if isinstance(type_, (ir.F16Type, ir.F32Type, ir.F64Type, ir.BF16Type)):
        return arith.ConstantOp(type_, ir.FloatAttr.get(type_, float(value))).result
    return arith.ConstantOp(type_, ir.IntegerAttr.get(type_, int(value))).result


def to_index(value: ir.Value) -> ir.Value:
    """A signed integer as `index`."""
    return arith.IndexCastOp(ir.IndexType.get(), value).result


def _pair(lhs: Any, rhs: Any) -> tuple[ir.Value, ir.Value]:
    if isinstance(lhs, (int, float)):
        return constant(lhs, rhs.type), rhs
    if isinstance(rhs, (int, float)):
        return lhs, constant(rhs, lhs.type)
    return lhs, rhs


def extend(value: ir.Value, width: int) -> ir.Value:
    """Sign-extend to a width; no operation if it has that width."""
    if width_of(value) == width:
        return value
    return arith.ExtSIOp(integer_type(width), value).result


def truncate(value: ir.Value, width: int) -> ir.Value:
    """Keep the low bits; no operation if it has that width."""
    if width_of(value) == width:
        return value
    return arith.TruncIOp(integer_type(width), value).result


def add(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs + rhs``."""
    return arith.AddIOp(*_pair(lhs, rhs)).result


def subtract(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs - rhs``."""
    return arith.SubIOp(*_pair(lhs, rhs)).result


def multiply(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs * rhs``."""
    return arith.MulIOp(*_pair(lhs, rhs)).result


def divide_positive(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs // rhs`` of operands that are not negative."""
    return arith.DivUIOp(*_pair(lhs, rhs)).result


def divide_floor(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs // rhs`` rounded towards minus infinity."""
    return arith.FloorDivSIOp(*_pair(lhs, rhs)).result


def bit_and(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs & rhs``."""
    return arith.AndIOp(*_pair(lhs, rhs)).result


def shift_left(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs << rhs``."""
    return arith.ShLIOp(*_pair(lhs, rhs)).result


def shift_right(lhs: Any, rhs: Any) -> ir.Value:
    """``lhs >> rhs``, arithmetic."""
    return arith.ShRSIOp(*_pair(lhs, rhs)).result


def maximum(lhs: Any, rhs: Any) -> ir.Value:
    """The larger of two signed integers."""
    return arith.MaxSIOp(*_pair(lhs, rhs)).result


def minimum(lhs: Any, rhs: Any) -> ir.Value:
    """The smaller of two signed integers."""
    return arith.MinSIOp(*_pair(lhs, rhs)).result


def compare(predicate: str, lhs: Any, rhs: Any) -> ir.Value:
    """``lhs predicate rhs`` as i1: ordered for floats, unsigned for i1 and signed otherwise."""
    lhs, rhs = _pair(lhs, rhs)
    if isinstance(lhs.type, (ir.F16Type, ir.F32Type, ir.F64Type, ir.BF16Type)):
        return arith.CmpFOp(_predicate(_ORDERED[predicate]), lhs, rhs).result
    table = _PREDICATES
    if isinstance(lhs.type, ir.IntegerType) and width_of(lhs) == 1:
        table = _PREDICATES | _UNSIGNED
    return arith.CmpIOp(_predicate(table[predicate]), lhs, rhs).result


def _predicate(code: int) -> ir.Attribute:
    return ir.IntegerAttr.get(integer_type(64), code)


def select(condition: ir.Value, chosen: Any, other: Any) -> ir.Value:
    """``chosen if condition else other``."""
    return arith.SelectOp(condition, *_pair(chosen, other)).result


def clamp(value: ir.Value, low: Any, high: Any) -> ir.Value:
    """``min(max(value, low), high)``, signed."""
    return minimum(maximum(value, low), high)


def saturate(value: ir.Value, width: int) -> ir.Value:
    """Clamp to the range of a narrower integer type and convert to it."""
    limit = 1 << (width - 1)
    return truncate(clamp(value, -limit, limit - 1), width)


def half(shift: Any) -> Any:
    """``1 << (shift - 1)`` in 64 bits, which makes the shift right round half up."""
    if isinstance(shift, int):
        return 1 << (shift - 1)
    return shift_left(1, subtract(extend(shift, 64), 1))


def round_shift(value: ir.Value, shift: Any, width: int, offset: int = 0) -> ir.Value:
    """``saturate(((value + half(shift)) >> shift) + offset)`` of a 64-bit value."""
    wide_shift = shift if isinstance(shift, int) else extend(shift, 64)
    rounded = shift_right(add(value, half(shift)), wide_shift)
    return saturate(add(rounded, offset) if offset else rounded, width)


def rescale(value: ir.Value, multiplier: Any, shift: Any, width: int, offset: int = 0) -> ir.Value:
    """docs/numerics.md, rescale. The multiplier and shift are Python ints or i32 values.

    Both factors of the product are sign-extended 32-bit values, so that LLVM multiplies them with
    one instruction (vpmuldq) per 64-bit lane.
    """
    wide = multiplier if isinstance(multiplier, int) else extend(multiplier, 64)
    return round_shift(multiply(extend(value, 64), wide), shift, width, offset)


def multiply_high(lhs: ir.Value, rhs: Any) -> ir.Value:
    """The upper half of the unsigned product of two i16: LLVM makes it one vpmulhuw."""
    wide = integer_type(32)
    left, right = (arith.ExtUIOp(wide, part).result for part in _pair(lhs, rhs))
    product = arith.MulIOp(left, right).result
    return truncate(arith.ShRUIOp(product, constant(16, wide)).result, 16)


def exponential(distance: ir.Value) -> ir.Value:
    """docs/numerics.md, integer_attention step 4: unsigned i16 distance to i16 weight 0 .. 255.

    In 16 bits, twice as many at a time as in 32, with the same result:
    ``(f * c) >> 8`` is the upper half of ``(f << 8) * c``; from ``e = 9`` on the weight is 0 (the
    mantissa is less than half of ``1 << (7 + e)``), and below that no sum exceeds 16 bits.
    """
    kind = distance.type
    fraction = shift_left(distance, 8)
    exponent = arith.ShRUIOp(distance, constant(8, kind)).result
    slope = subtract(21948, multiply_high(fraction, 5664))
    mantissa = subtract(32640, multiply_high(fraction, slope))
    shift = arith.MinUIOp(exponent, constant(LAST_EXPONENT, kind)).result
    rounded = add(mantissa, shift_left(64, shift))
    value = arith.ShRUIOp(rounded, add(shift, 7)).result
    return select(compare("gt", exponent, LAST_EXPONENT), 0, value)


def attention_weight(score: ir.Value, top: ir.Value) -> ir.Value:
    """The weight of an i16 score below its row's maximum, 0 where hidden; i8, less 128."""
    # The difference of two int16 as unsigned int16: 0 .. 65535.
    value = exponential(subtract(top, score))
    visible = select(compare("eq", score, SCORE_HIDDEN), 0, value)
    return truncate(subtract(visible, 128), 8)
