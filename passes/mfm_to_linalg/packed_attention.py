"""Integer attention over long sequences: one head after another, tile by tile.

Left alone, IREE computes the scores of all heads at once, and computes what follows the product
of queries and keys with tiles so large that the 64-bit rescale spills. Here the operands of that
product are packed as the byte kernel reads them and the rescale is done on each of its tiles; the
scores of one head stay in the cache until they are used. On Whisper-tiny's encoder (1500 x 1500,
6 heads) this takes half the time and a sixth of the memory. docs/numerics.md, integer_attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import linalg, scf

from girih.dialects.arithmetic import KEY_GROUP
from girih.passes.mfm_to_linalg import build, key_groups, scalar

Tile = tuple[int, int]
"""Rows (of both operands) and depth of the byte kernel's tiles."""

LARGE_SCORES = 1 << 18
"""Scores of a head from which this form is worth its packing."""

AT_ONCE = 2
"""Groups of keys that one dispatch multiplies and folds."""

SHORTEST = 16
"""Fewest keys: from here on their number is padded to whole tiles of any kernel."""


def suits(op: Any, queries: int, keys: int) -> bool:
    """Whether an attention is large enough, and has no mask of its own for each head."""
    if op.mask is not None and any(size > 1 for size in build.shape(op.mask)[:-2]):
        return False
    return keys >= SHORTEST and queries * keys >= LARGE_SCORES


def reciprocal(op: Any, total: ir.Value) -> ir.Value:
    """The i64 factor that divides by a row's sum of weights (i32, 0 if all is hidden)."""
    numerator = scalar.constant(op.output_multiplier.value << 8, scalar.integer_type(64))
    return scalar.divide_positive(numerator, scalar.extend(scalar.maximum(total, 1), 64))


def finish(op: Any, value: ir.Value, factor: ir.Value) -> ir.Value:
    """The last step: the weighted sum (i32) times the reciprocal."""
    product = scalar.multiply(scalar.extend(value, 64), factor)
    return scalar.round_shift(product, op.output_shift.value, 8)


def lower(op: Any, tile: Tile, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
    """Attention of (heads, length, depth) operands, keys padded with 0: (heads, queries, depth)."""
    i8, i32 = scalar.integer_type(8), scalar.integer_type(32)
    count, queries, _ = build.shape(query)
    keys, depth = build.shape(value)[1:]
    size = min(keys, KEY_GROUP)
    groups = keys // size
    values = build.reshape(value, [count * groups, size, depth])
    values = build.barrier(build.transpose(values, [0, 2, 1]))
    columns = build.reduce_last(
        [values],
        build.shape(values),
        i32,
        0,
        lambda v, total: scalar.add(total, scalar.extend(v, 32)),
    )
    packed_values = _pack(values, tile)
    sizes = build.shape(packed_values)[1:]
    packed_values = build.reshape(packed_values, [count, groups, *sizes])
    # Padded as the packed values are.
    columns = build.pad(columns, [0, 0], [0, sizes[0] * tile[0] - depth])
    columns = build.reshape(build.barrier(columns), [count, groups, sizes[0], tile[0]])
    packed_query, packed_key = _pack(query, tile), _pack(key, tile)
    bounds = [scalar.constant(bound, ir.IndexType.get()) for bound in (0, count, 1)]
    loop = scf.ForOp(*bounds, [build.empty([count, queries, depth], i8)])
    with ir.InsertionPoint(loop.body):
        head, made = loop.induction_variable, loop.inner_iter_args[0]
        operands = (packed_query, packed_key, packed_values, columns)
        result = _one_head(op, tile, *(build.take(each, head) for each in operands))
        result = build.reshape(build.slice_(result, [0, 0], [queries, depth]), [1, queries, depth])
        scf.YieldOp([build.insert_slice(result, made, [head, 0, 0])])
    return loop.results[0]


def _pack(value: ir.Value, tile: Tile) -> ir.Value:
    """(heads, length, depth) -> (heads, length / rows, depth / d, rows, d), zeros at the ends."""
    rows, deep = tile
    heads, length, depth = build.shape(value)
    longer, deeper = build.round_up(length, rows), build.round_up(depth, deep)
    value = build.pad(value, [0, 0, 0], [0, longer - length, deeper - depth])
    # The d bytes of a row that stay together move as one number.
    sizes = [heads * longer // rows, rows, deeper // deep]
    whole = build.bitcast(build.barrier(value), sizes, 8 * deep)
    packed = build.barrier(build.transpose(whole, [0, 2, 1]))
    return build.bitcast(packed, [heads, longer // rows, deeper // deep, rows, deep], 8)


def _one_head(
    op: Any,
    tile: Tile,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    columns: ir.Value,
) -> ir.Value:
    """Packed query, key and value (by groups of keys), its column sums: (padded queries, depth)."""
    i8, i32, i64 = (scalar.integer_type(bits) for bits in (8, 32, 64))
    rows, deep = tile
    across, groups = build.shape(query)[0], build.shape(value)[0]
    down, steps = build.shape(value)[1:3]
    split = [across * rows, groups, steps * deep]
    scores = build.reshape(_scores(op, rows, query, key), split)
    tops = build.reduce_last(
        [scores], split, build.element(scores), scalar.SCORE_HIDDEN, scalar.maximum
    )
    tops = key_groups.maxima(tops)
    factors = build.barrier(key_groups.corrections(tops))
    factors = build.barrier(build.transpose(factors, [1, 0]))
    weights = build.elementwise([scores, (tops, [0, 1])], split, i8, scalar.attention_weight)
    weights = build.barrier(weights)
    totals = build.reduce_last(
        [weights],
        split,
        i32,
        0,
        lambda w, total: scalar.add(total, scalar.add(scalar.extend(w, 32), 128)),
    )
    totals = build.barrier(build.transpose(totals, [1, 0]))
    total = key_groups.fold(
        split[:1],
        groups,
        lambda group, place: build.extract(totals, [group, *place]),
        lambda group, place: build.extract(factors, [group, *place]),
    )
    scale = build.elementwise([total], split[:1], i64, lambda total: reciprocal(op, total))
    packed = _pack(build.reshape(weights, [1, across * rows, groups * steps * deep]), tile)
    packed = build.reshape(packed, [across, groups, steps, rows, deep])
    mixed = _mix(packed, value, columns, build.reshape(factors, [groups, across, rows]))
    result = build.elementwise(
        [(mixed, [0, 2, 1, 3]), (build.reshape(scale, [across, rows]), [0, 1])],
        [across, rows, down, rows],
        i8,
        lambda value, factor: finish(op, value, factor),
    )
    return build.reshape(result, [across * rows, down * rows])


def _mix(weights: ir.Value, value: ir.Value, columns: ir.Value, factors: ir.Value) -> ir.Value:
    """The groups' products, each folded as soon as it is there.

    Everything is in tiles; the result is (query tiles, depth tiles, rows, rows).
    """
    across, groups, _, rows, _ = build.shape(weights)
    sizes = [across, build.shape(value)[1], rows, rows]
    i32 = scalar.integer_type(32)

    def folded(old: ir.Value, dot: ir.Value, column: ir.Value, factor: ir.Value) -> ir.Value:
        return key_groups.folded(old, factor, scalar.add(dot, scalar.multiply(column, 128)))

    def fold(first: int, count: int, state: ir.Value) -> ir.Value:
        def compute() -> ir.Value:
            total = state
            for number in range(first, first + count):
                group = scalar.add(zero, number)
                zeros = build.filled(sizes, i32, 0)
                own = build.take(weights, group, axis=1)
                dots = linalg.mmt4d(own, build.take(value, group), outs=[zeros])
                column, factor = build.take(columns, group), build.take(factors, group)
                inputs = [total, dots, (column, [1, 3]), (factor, [0, 2])]
                total = build.elementwise(inputs, sizes, i32, folded)
            return total

        return build.together(build.tensor_type(sizes, i32), compute)

    # Numbers that the compiler does not know: one executable then serves all groups. In a loop,
    # the host would allocate memory for each group.
    zero = build.opaque(0)
    state = build.filled(sizes, i32, 0)
    for first in range(0, groups, AT_ONCE):
        state = fold(first, min(AT_ONCE, groups - first), state)
    return state


def _scores(op: Any, rows: int, query: ir.Value, key: ir.Value) -> ir.Value:
    """The int16 scores (query tiles, rows, key tiles, rows), hidden ones at -32768."""
    sizes = [build.shape(query)[0], rows, build.shape(key)[0], rows]
    i16, i32 = scalar.integer_type(16), scalar.integer_type(32)
    queries, keys = build.shape(op.query)[1], build.shape(op.key)[1]
    # The highest score that each key may have hides those that only pad the last tile.
    limits = np.full(sizes[2] * rows, 32767, np.int16)
    limits[keys:] = scalar.SCORE_HIDDEN
    limit = build.dense(limits.reshape(sizes[2:]))
    masks = [] if op.mask is None else [_tiled_mask(op.mask, queries, keys, sizes)]

    def score(dot: ir.Value, limit: ir.Value, *mask: ir.Value) -> ir.Value:
        scaled = scalar.rescale(dot, op.score_multiplier.value, op.score_shift.value, 16)
        scaled = scalar.minimum(scaled, limit)
        for each in mask:
            seen = scalar.compare("ne", each, 0)
            scaled = scalar.select(seen, scaled, scalar.SCORE_HIDDEN)
        if op.causal.value:
            own, other = (
                scalar.add(
                    scalar.multiply(build.loop_index(axis, 32), rows),
                    build.loop_index(axis + 1, 32),
                )
                for axis in (0, 2)
            )
            seen = scalar.compare("le", other, scalar.add(own, keys - queries))
            scaled = scalar.select(seen, scaled, scalar.SCORE_HIDDEN)
        return scaled

    def compute() -> ir.Value:
        zeros = build.filled([sizes[0], sizes[2], rows, rows], i32, 0)
        dots = linalg.mmt4d(query, key, outs=[zeros])
        inputs = [(dots, [0, 2, 1, 3]), (limit, [2, 3]), *masks]
        return build.elementwise(inputs, sizes, i16, score)

    return build.together(build.tensor_type(sizes, i16), compute)


def _tiled_mask(
    mask: ir.Value, queries: int, keys: int, sizes: list[int]
) -> tuple[ir.Value, list[int]]:
    """The mask as i8, padded and cut into tiles as the scores are, and its axes among theirs."""
    rows = sizes[1]
    own = [1, 1, *build.shape(mask)][-2:]
    mask = build.reshape(mask, own)
    if build.width(mask) == 1:
        mask = build.barrier(build.as_bytes(mask))
    axes: list[int] = []
    high, tiled = [0, 0], []
    for axis, (size, length) in enumerate(zip(own, (queries, keys), strict=True)):
        if size == length:
            tiles = sizes[2 * axis]
            high[axis] = tiles * rows - length
            tiled += [tiles, rows]
            axes += [2 * axis, 2 * axis + 1]
    return build.reshape(build.pad(mask, [0, 0], high), tiled), axes
