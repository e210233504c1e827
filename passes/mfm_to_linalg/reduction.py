"""`reduce`, `cumulative_sum` and `argmax`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith

from girih.passes.mfm_to_linalg import build, scalar

Pair = Callable[[ir.Value, ir.Value], ir.Value]


def _limits(kind: ir.Type) -> tuple[float, float]:
    if isinstance(kind, ir.IntegerType):
        return -(1 << (kind.width - 1)), (1 << (kind.width - 1)) - 1
    return float("-inf"), float("inf")


def _rule(function: str, kind: ir.Type) -> tuple[float, Pair]:
    """The neutral value and the combination of two."""
    is_integer = isinstance(kind, ir.IntegerType)
    low, high = _limits(kind)
    rules: dict[str, tuple[float, Pair]] = {
        "sum": (0, lambda a, b: (arith.AddIOp if is_integer else arith.AddFOp)(a, b).result),
        "product": (1, lambda a, b: (arith.MulIOp if is_integer else arith.MulFOp)(a, b).result),
        "maximum": (
            low,
            lambda a, b: (arith.MaxSIOp if is_integer else arith.MaximumFOp)(a, b).result,
        ),
        "minimum": (
            high,
            lambda a, b: (arith.MinSIOp if is_integer else arith.MinimumFOp)(a, b).result,
        ),
        "any": (0, lambda a, b: arith.OrIOp(a, b).result),
        "all": (1, lambda a, b: arith.AndIOp(a, b).result),
    }
    return rules[function]


def lower_reduce(op: Any) -> ir.Value:
    """One generic whose reduction axes are the operation's.

    Booleans are combined as bytes: IREE pads rows to its tiles, and can not pad with single bits.
    """
    sizes, axes, kind = build.shape(op.x), list(op.axes), build.element(op.x)
    is_boolean = kind == scalar.integer_type(1)
    held = scalar.integer_type(8) if is_boolean else kind
    initial, combine = _rule(op.function.value, held)
    rank = len(sizes)
    kept = [axis for axis in range(rank) if axis not in axes]
    out = build.filled([sizes[axis] for axis in kept], held, initial)

    def body(a: ir.Value, total: ir.Value) -> list[ir.Value]:
        return [combine(arith.ExtUIOp(held, a).result if is_boolean else a, total)]

    found = build.generic(
        [(op.x, build.dimensions(rank, range(rank)))],
        [(out, build.dimensions(rank, kept))],
        ["reduction" if axis in axes else "parallel" for axis in range(rank)],
        body,
    )[0]
    if not is_boolean:
        return found
    sizes = build.shape(op.result)
    return build.elementwise([found], sizes, kind, lambda a: arith.TruncIOp(kind, a).result)


def lower_cumulative_sum(op: Any) -> ir.Value:
    """Every prefix summed on its own: quadratic, but parallel, and rows are short."""
    sizes, axis, kind = build.shape(op.x), op.axis.value, build.element(op.x)
    rank = len(sizes)
    is_integer = isinstance(kind, ir.IntegerType)
    add = arith.AddIOp if is_integer else arith.AddFOp
    out_axes = list(range(rank))
    in_axes = [rank if each == axis else each for each in range(rank)]
    # The loop's extent along the last axis is known from the operand alone.
    zero = build.filled(sizes, kind, 0)

    def body(a: ir.Value, total: ir.Value) -> list[ir.Value]:
        before = scalar.compare("le", build.loop_index(rank, 64), build.loop_index(axis, 64))
        return [arith.SelectOp(before, add(total, a).result, total).result]

    return build.generic(
        [(op.x, build.dimensions(rank + 1, in_axes))],
        [(zero, build.dimensions(rank + 1, out_axes))],
        ["parallel"] * rank + ["reduction"],
        body,
    )[0]


def lower_argmax(op: Any) -> ir.Value:
    """The largest value and its first position, reduced together."""
    sizes, axis, kind = build.shape(op.x), op.axis.value, build.element(op.x)
    rank = len(sizes)
    kept = [each for each in range(rank) if each != axis]
    result = [sizes[each] for each in kept]
    low, _ = _limits(kind)
    i64 = scalar.integer_type(64)
    best, where = build.filled(result, kind, low), build.filled(result, i64, -1)

    def body(a: ir.Value, top: ir.Value, place: ir.Value) -> list[ir.Value]:
        index = build.loop_index(axis, 64)
        larger = scalar.compare("gt", a, top)
        # Reductions may run in any order: of equal ones the first place wins; -1 is no place yet.
        equal = scalar.compare("eq", a, top)
        unset = scalar.compare("lt", place, 0)
        earlier = arith.OrIOp(unset, scalar.compare("lt", index, place)).result
        better = arith.OrIOp(larger, arith.AndIOp(equal, earlier).result).result
        return [
            arith.SelectOp(better, a, top).result,
            arith.SelectOp(better, index, place).result,
        ]

    outs = [(best, build.dimensions(rank, kept)), (where, build.dimensions(rank, kept))]
    return build.generic(
        [(op.x, build.dimensions(rank, range(rank)))],
        outs,
        ["reduction" if each == axis else "parallel" for each in range(rank)],
        body,
    )[1]
