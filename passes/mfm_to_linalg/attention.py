"""`attention` and `integer_attention`, decomposed so that every part is a plain, aligned loop."""

from __future__ import annotations

import math as numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.passes.mfm_to_linalg import build, key_groups, packed_attention, scalar

KEY_MULTIPLE = 64
"""Keys are padded to this: rows of scores that are not whole vectors cost ten times as much."""


@dataclass(frozen=True)
class _Heads:
    """Operands with the heads outermost, (batch * heads, length, depth), keys padded with 0."""

    query: ir.Value
    key: ir.Value
    value: ir.Value
    batch: int
    heads: int
    queries: int
    keys: int
    padded: int

    @property
    def scores(self) -> tuple[int, int, int, int]:
        """Shape of the score tensor."""
        return self.batch, self.heads, self.queries, self.padded


def _split(op: Any) -> _Heads:
    batch, queries, heads, _ = build.shape(op.query)
    keys, shared = build.shape(op.key)[1:3]
    multiple = KEY_MULTIPLE if keys >= KEY_MULTIPLE else 16
    padded = build.round_up(keys, multiple) if keys >= 16 else keys

    def outermost(value: ir.Value, length: int) -> ir.Value:
        moved = build.transpose(value, [0, 2, 1, 3])
        moved = build.pad(moved, [0] * 4, [0, 0, length - build.shape(moved)[2], 0])
        if build.shape(value)[2] < heads:
            sizes = [batch, shared, heads // shared, length, build.shape(value)[3]]
            moved = build.elementwise(
                [(moved, [0, 1, 3, 4])], sizes, build.element(moved), lambda each: each
            )
        return build.reshape(moved, [batch * heads, length, build.shape(value)[3]])

    return _Heads(
        outermost(op.query, queries),
        outermost(op.key, padded),
        outermost(op.value, padded),
        batch,
        heads,
        queries,
        keys,
        padded,
    )


def _visibility(op: Any, parts: _Heads) -> tuple[list[Any], Callable[..., ir.Value | None]]:
    """The mask as an operand, and a body that says whether the loop's query sees its key.

    The body gets the mask's element, if there is a mask; it returns None where all is visible.
    """
    masks: list[Any] = []
    covered = parts.padded == parts.keys
    added = op.mask is not None and str(build.element(op.mask)) == "f32"
    if op.mask is not None:
        mask = op.mask
        own = build.shape(mask)
        if added:
            # An added mask is often a choice by booleans, which must not be packed either.
            mask = build.barrier(mask)
        if not added and build.width(mask) == 1:
            # IREE packs the mask as it packs the scores, which fails for i1: keep them apart.
            mask = build.barrier(build.as_bytes(mask))
        if own and own[-1] == parts.keys:
            mask = build.pad(mask, [0] * len(own), [0] * (len(own) - 1) + [parts.padded - own[-1]])
            covered = covered or not added
        masks.append(mask)

    def visible(*mask: ir.Value) -> ir.Value | None:
        conditions: list[ir.Value] = []
        if not added:
            conditions.extend(scalar.compare("ne", each, 0) for each in mask)
        if op.causal.value:
            limit = scalar.add(build.loop_index(2, 32), parts.keys - parts.queries)
            conditions.append(scalar.compare("le", build.loop_index(3, 32), limit))
        elif not covered:
            conditions.append(scalar.compare("lt", build.loop_index(3, 32), parts.keys))
        if not conditions:
            return None
        seen = conditions[0]
        for condition in conditions[1:]:
            seen = scalar.bit_and(seen, condition)
        return seen

    return masks, visible


def lower_attention(op: Any) -> ir.Value:
    """Scores, row maximum, exponential and its sum, product with the values, division."""
    parts = _split(op)
    kind = ir.F32Type.get()
    depth = build.shape(op.value)[3]
    sizes, rows = parts.scores, [0, 1, 2]
    dots = build.reshape(build.matmul(parts.query, parts.key, kind), sizes)
    masks, visible = _visibility(op, parts)

    def score(dot: ir.Value, *mask: ir.Value) -> ir.Value:
        scaled = arith.MulFOp(dot, scalar.constant(op.scale.value, kind)).result
        if mask and mask[0].type == kind:
            scaled = arith.AddFOp(scaled, mask[0]).result
        seen = visible(*mask)
        return scaled if seen is None else scalar.select(seen, scaled, -numbers.inf)

    scores = build.elementwise([dots, *masks], sizes, kind, score)
    top = build.reduce_last(
        [scores],
        sizes,
        kind,
        -numbers.inf,
        lambda s, acc: arith.MaximumFOp(s, acc).result,
    )

    def weight(s: ir.Value, top: ir.Value) -> ir.Value:
        power = math.ExpOp(arith.SubFOp(s, top).result).result
        # A hidden key weighs nothing even where the whole row is hidden (-inf minus -inf).
        return scalar.select(scalar.compare("eq", s, -numbers.inf), 0.0, power)

    weights = build.elementwise([scores, (top, rows)], sizes, kind, weight)
    total = build.reduce_last([weights], sizes, kind, 0, lambda w, acc: arith.AddFOp(w, acc).result)
    flat = build.reshape(weights, _flat(parts))
    mixed = build.matmul(flat, build.transpose(parts.value, [0, 2, 1]), kind)
    mixed = build.reshape(mixed, [*sizes[:3], depth])

    def divide(value: ir.Value, total: ir.Value) -> ir.Value:
        safe = scalar.select(scalar.compare("eq", total, 0.0), 1.0, total)
        return arith.DivFOp(value, safe).result

    return build.elementwise(
        [(mixed, [0, 2, 1, 3]), (total, [0, 2, 1])],
        build.shape(op.result),
        kind,
        divide,
    )


def _flat(parts: _Heads) -> tuple[int, int, int]:
    return parts.batch * parts.heads, parts.queries, parts.padded


def lower_integer_attention(op: Any, tile: packed_attention.Tile) -> ir.Value:
    """docs/numerics.md, integer_attention.

    `tile` is that of the byte kernel of the CPU (see packed_attention, which does long sequences).
    """
    parts = _split(op)
    if packed_attention.suits(op, parts.queries, parts.padded):
        mixed = packed_attention.lower(op, tile, parts.query, parts.key, parts.value)
        return _join(op, mixed)
    return _join(op, _integer_heads(op, parts))


def _join(op: Any, mixed: ir.Value) -> ir.Value:
    """(batch * heads, queries, depth) -> (batch, queries, heads, depth)."""
    batch, queries, heads, depth = build.shape(op.result)
    return build.transpose(build.reshape(mixed, [batch, heads, queries, depth]), [0, 2, 1, 3])


def _integer_heads(op: Any, parts: _Heads) -> ir.Value:
    """Attention of all heads together: (batch, heads, queries, depth of the value).

    The weights, 0 .. 255, are kept as ``p - 128`` in int8, so that both products are of signed
    bytes; 128 times the sums of the value's columns puts back what that takes away.
    """
    i8, i16, i32, i64 = (scalar.integer_type(bits) for bits in (8, 16, 32, 64))
    depth = build.shape(op.value)[3]
    sizes = parts.scores
    dots = build.reshape(build.matmul(parts.query, parts.key, i32), sizes)
    masks, visible = _visibility(op, parts)

    def score(dot: ir.Value, *mask: ir.Value) -> ir.Value:
        scaled = scalar.rescale(dot, op.score_multiplier.value, op.score_shift.value, 16)
        seen = visible(*mask)
        return scaled if seen is None else scalar.select(seen, scaled, scalar.SCORE_HIDDEN)

    scores = build.elementwise([dots, *masks], sizes, i16, score)
    scores = key_groups.split(scores)
    split = build.shape(scores)
    tops = build.reduce_last([scores], split, i16, scalar.SCORE_HIDDEN, scalar.maximum)
    tops = key_groups.maxima(tops)
    groups, size = split[3:]
    weights = build.elementwise([scores, (tops, [0, 1, 2, 3])], split, i8, scalar.attention_weight)
    totals = build.reduce_last(
        [weights],
        split,
        i32,
        0,
        lambda w, acc: scalar.add(acc, scalar.add(scalar.extend(w, 32), 128)),
    )
    count = parts.batch * parts.heads
    values = build.reshape(parts.value, [count * groups, size, depth])
    values = build.transpose(values, [0, 2, 1])
    columns = build.reduce_last(
        [values],
        build.shape(values),
        i32,
        0,
        lambda v, acc: scalar.add(acc, scalar.extend(v, 32)),
    )
    columns = build.reshape(columns, [parts.batch, parts.heads, groups, depth])
    by_group = build.transpose(weights, [0, 1, 3, 2, 4])
    by_group = build.reshape(by_group, [count * groups, parts.queries, size])
    mixed = build.matmul(by_group, values, i32)
    mixed = build.reshape(mixed, [parts.batch, parts.heads, groups, parts.queries, depth])
    factors = key_groups.corrections(tops)

    def sums(group: ir.Value, place: list[ir.Value]) -> ir.Value:
        batch, head, query, column = place
        product = build.extract(mixed, [batch, head, group, query, column])
        offset = build.extract(columns, [batch, head, group, column])
        return scalar.add(product, scalar.multiply(offset, 128))

    def factor(group: ir.Value, place: list[ir.Value]) -> ir.Value:
        return build.extract(factors, [*place[:3], group])

    def weight_sums(group: ir.Value, place: list[ir.Value]) -> ir.Value:
        return build.extract(totals, [*place, group])

    mixed = key_groups.fold([*sizes[:3], depth], groups, sums, factor)
    total = key_groups.fold(list(sizes[:3]), groups, weight_sums, factor)

    reciprocal = build.elementwise(
        [total], sizes[:3], i64, lambda total: packed_attention.reciprocal(op, total)
    )
    return build.elementwise(
        [mixed, (reciprocal, [0, 1, 2])],
        build.shape(mixed),
        build.element(op.result),
        lambda value, factor: packed_attention.finish(op, value, factor),
    )
