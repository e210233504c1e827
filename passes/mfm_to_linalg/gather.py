"""`take`, `gather`, `scatter_rows` and `masked_scatter`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith

from girih.passes.mfm_to_linalg import build, scalar


def _clamped(index: ir.Value, size: int) -> ir.Value:
    """An index inside the axis, whatever it was: reading elsewhere would be undefined."""
    return scalar.to_index(scalar.clamp(index, 0, size - 1))


def lower_take(op: Any) -> ir.Value:
    """A read at a computed place per element."""
    sizes, axis = build.shape(op.x), op.axis.value
    own, rank = len(build.shape(op.indices)), len(build.shape(op.result))
    index_axes = list(range(axis, axis + own))

    def body(index: ir.Value) -> ir.Value:
        places = [build.loop_index(each) for each in range(axis)]
        places.append(_clamped(index, sizes[axis]))
        places += [build.loop_index(each) for each in range(axis + own, rank)]
        return build.extract(op.x, places)

    return build.elementwise(
        [(op.indices, index_axes)], build.shape(op.result), build.element(op.x), body
    )


def lower_gather(op: Any) -> ir.Value:
    """A read at a computed place per element."""
    sizes, axis = build.shape(op.x), op.axis.value
    rank = len(sizes)

    def body(index: ir.Value) -> ir.Value:
        places = [build.loop_index(each) for each in range(rank)]
        places[axis] = _clamped(index, sizes[axis])
        return build.extract(op.x, places)

    return build.elementwise([op.indices], build.shape(op.result), build.element(op.x), body)


def lower_scatter_rows(op: Any) -> ir.Value:
    """For each place along the axis, the last row that goes there, if any."""
    sizes, axis, kind = build.shape(op.x), op.axis.value, build.element(op.x)
    rank, count = len(sizes), build.shape(op.indices)[0]
    i64 = scalar.integer_type(64)
    none = build.filled([sizes[axis]], i64, -1)

    def latest(index: ir.Value, found: ir.Value) -> list[ir.Value]:
        here = scalar.compare("eq", index, build.loop_index(0, 64))
        later = arith.MaxSIOp(found, build.loop_index(1, 64)).result
        return [arith.SelectOp(here, later, found).result]

    source = build.generic(
        [(op.indices, build.dimensions(2, [1]))],
        [(none, build.dimensions(2, [0]))],
        ["parallel", "reduction"],
        latest,
    )[0]

    def body(old: ir.Value, row: ir.Value) -> ir.Value:
        places = [build.loop_index(each) for each in range(rank)]
        places[axis] = _clamped(row, count)
        new = build.extract(op.rows, places)
        return arith.SelectOp(scalar.compare("ge", row, 0), new, old).result

    return build.elementwise([op.x, (source, [axis])], sizes, kind, body)


def lower_masked_scatter(op: Any) -> ir.Value:
    """The n-th set element reads the n-th of the source: a running count, then a gather."""
    sizes = build.shape(op.x)
    total, available = math.prod(sizes), math.prod(build.shape(op.source))
    source = build.reshape(op.source, [available])
    order = _running_count(build.reshape(op.mask, [total]), total)
    flat = build.reshape(op.x, [total])

    def body(old: ir.Value, flag: ir.Value, number: ir.Value) -> ir.Value:
        place = scalar.subtract(number, 1)
        new = build.extract(source, [_clamped(place, available)])
        return arith.SelectOp(flag, new, old).result

    mask = build.reshape(op.mask, [total])
    mixed = build.elementwise([flat, mask, order], [total], build.element(op.x), body)
    return build.reshape(mixed, sizes)


def _running_count(mask: ir.Value, total: int) -> ir.Value:
    """How many of a flat mask's elements are set up to each: within rows, then over rows.

    Two short quadratic sums instead of a long one.
    """
    width = max(1, math.isqrt(total))
    rows = -(-total // width)
    i64 = scalar.integer_type(64)
    counts = build.elementwise([mask], [total], i64, lambda f: arith.ExtUIOp(i64, f).result)
    grid = build.reshape(build.pad(counts, [0], [rows * width - total]), [rows, width])
    within = _prefix(grid, [rows, width], inclusive=True)
    sums = build.reduce_last([grid], [rows, width], i64, 0, lambda a, b: scalar.add(a, b))
    before = _prefix(sums, [rows], inclusive=False)
    both = build.elementwise([within, (before, [0])], [rows, width], i64, scalar.add)
    return build.slice_(build.reshape(both, [rows * width]), [0], [total])


def _prefix(value: ir.Value, sizes: Sequence[int], *, inclusive: bool) -> ir.Value:
    rank = len(sizes)
    last = rank - 1
    predicate = "le" if inclusive else "lt"

    def body(a: ir.Value, total: ir.Value) -> list[ir.Value]:
        counts = scalar.compare(predicate, build.loop_index(rank, 64), build.loop_index(last, 64))
        return [arith.SelectOp(counts, scalar.add(total, a), total).result]

    zero = build.filled(sizes, build.element(value), 0)
    read = [*range(last), rank]
    return build.generic(
        [(value, build.dimensions(rank + 1, read))],
        [(zero, build.dimensions(rank + 1, range(rank)))],
        ["parallel"] * rank + ["reduction"],
        body,
    )[0]
