"""`cache_update`: some rows of a cache replaced; a position outside it is clamped."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build, scalar


def lower_cache_update(op: Any) -> ir.Value:
    """One row is inserted in place; several are looked up by each row of the cache."""
    if build.shape(op.position)[0] == 1:
        return _insert_row(op)
    return _replace_rows(op)


def _insert_row(op: Any) -> ir.Value:
    _, length, *rest = build.shape(op.cache)
    zero = scalar.constant(0, ir.IndexType.get())
    position = build.extract(op.position, [zero])
    start = scalar.to_index(scalar.clamp(position, 0, length - 1))
    return build.insert_slice(op.rows, op.cache, [0, start, *[0] * len(rest)])


def _replace_rows(op: Any) -> ir.Value:
    sizes, kind = build.shape(op.cache), build.element(op.cache)
    length, count = sizes[1], build.shape(op.position)[0]
    rank, i32 = len(sizes), scalar.integer_type(32)

    def newest(position: ir.Value, best: ir.Value) -> ir.Value:
        row = scalar.clamp(position, 0, length - 1)
        own = build.loop_index(0, scalar.width_of(row))
        chosen = scalar.select(scalar.compare("eq", row, own), build.loop_index(1, 32), best)
        return scalar.maximum(chosen, best)

    # Which new row each row of the cache takes: the last one that names it, or none (-1).
    source = build.reduce_last([(op.position, [1])], [length, count], i32, -1, newest)

    def body(old: ir.Value, row: ir.Value) -> ir.Value:
        place = scalar.to_index(scalar.maximum(row, 0))
        others = [build.loop_index(axis) for axis in range(2, rank)]
        new = build.extract(op.rows, [build.loop_index(0), place, *others])
        return scalar.select(scalar.compare("ge", row, 0), new, old)

    return build.elementwise([op.cache, (source, [1])], sizes, kind, body)
