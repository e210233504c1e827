"""What integer_attention carries from one group of keys to the next: docs/numerics.md.

All maxima of a row come first, then all weights and all groups' products at once, and the fold over
the groups at the end, in one loop over the elements of the result.
"""

from __future__ import annotations

from collections.abc import Callable

from torch_mlir import ir

from girih.dialects.arithmetic import CORRECTION_BITS, CORRECTION_TABLE, KEY_GROUP
from girih.passes.mfm_to_linalg import build, scalar

AT_ONCE = 32
"""Groups that one loop folds: its body is written out for each."""

Element = Callable[[ir.Value, list[ir.Value]], ir.Value]
"""An i32 of a group (an `index` value) at the body's place in the result."""


def split(scores: ir.Value) -> ir.Value:
    """(..., keys) -> (..., groups, keys of a group)."""
    *rows, keys = build.shape(scores)
    size = min(keys, KEY_GROUP)
    return build.reshape(scores, [*rows, keys // size, size])


def maxima(tops: ir.Value) -> ir.Value:
    """(..., groups) -> (..., groups): the largest of each group and those before it."""
    sizes, kind = build.shape(tops), build.element(tops)
    groups = sizes[-1]
    # Each step takes in as many groups again.
    distance = 1
    while distance < groups:

        def larger(top: ir.Value, distance: int = distance, tops: ir.Value = tops) -> ir.Value:
            place = [build.loop_index(axis) for axis in range(len(sizes))]
            place[-1] = scalar.maximum(scalar.subtract(place[-1], distance), 0)
            return scalar.maximum(top, build.extract(tops, place))

        tops = build.barrier(build.elementwise([tops], sizes, kind, larger))
        distance *= 2
    return tops


def corrections(maxima: ir.Value) -> ir.Value:
    """(..., groups) -> (..., groups) i32: the factor of the sums before each group."""
    sizes = build.shape(maxima)
    table = build.dense(CORRECTION_TABLE)

    def factor(top: ir.Value) -> ir.Value:
        *row, group = [build.loop_index(axis) for axis in range(len(sizes))]
        last = scalar.maximum(scalar.subtract(group, 1), 0)
        before = build.extract(maxima, [*row, last])
        distance = scalar.subtract(scalar.extend(top, 32), scalar.extend(before, 32))
        entry = build.extract(table, [scalar.to_index(scalar.bit_and(distance, 255))])
        shift = scalar.extend(scalar.minimum(scalar.shift_right(distance, 8), 32), 64)
        half = scalar.shift_right(scalar.shift_left(1, shift), 1)
        wide = scalar.add(scalar.extend(entry, 64), half)
        return scalar.truncate(scalar.shift_right(wide, shift), 32)

    return build.elementwise([maxima], sizes, scalar.integer_type(32), factor)


def folded(state: ir.Value, factor: ir.Value, added: ir.Value) -> ir.Value:
    """``round(state * factor / 2^30) + added`` of i32."""
    product = scalar.multiply(scalar.extend(state, 64), scalar.extend(factor, 64))
    rounded = scalar.add(product, scalar.half(CORRECTION_BITS))
    kept = scalar.truncate(scalar.shift_right(rounded, CORRECTION_BITS), 32)
    return scalar.add(kept, added)


def fold(sizes: list[int], groups: int, added: Element, factor: Element) -> ir.Value:
    """``state = round(state * factor / 2^30) + added`` over the groups, from the first one's."""
    i32, index = scalar.integer_type(32), ir.IndexType.get()
    state: ir.Value | None = None
    for start in range(0, groups, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, groups))

        def body(*before: ir.Value, numbers: range = numbers) -> ir.Value:
            place = [build.loop_index(axis) for axis in range(len(sizes))]
            value = before[0] if before else None
            for number in numbers:
                group = scalar.constant(number, index)
                new = added(group, place)
                if value is not None:
                    new = folded(value, factor(group, place), new)
                value = new
            assert value is not None
            return value

        state = build.elementwise([] if state is None else [state], sizes, i32, body)
    assert state is not None
    return state
