"""Scaled dot-product attention: self, cross, causal, masked, cached."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    BooleanAttribute,
    Operation,
    expect_broadcast,
    expect_element,
    expect_rank,
    expect_shape,
    expect_shift,
    rank_problem,
    shape,
)

MAXIMUM_KEYS = 65535
"""Most keys whose weighted sum, uint8 x int8, int32 holds."""
MAXIMUM_HEAD_DEPTH = (1 << 17) - 1
"""Longest sum of int8 x int8 products that int32 holds: 2^17 of them can be 2^31."""


class _Attention(Operation):
    def _check_operands(self, element: str, *mask_elements: str) -> Iterator[str]:
        for name, value in (("query", self.query), ("key", self.key), ("value", self.value)):
            yield from expect_element(name, value, element)
            if not expect_rank(name, value, 4):
                yield rank_problem(name, value, 4)
                return
        batch, queries, heads, depth = shape(self.query)
        keys, shared = shape(self.key)[1:3]
        if heads % max(shared, 1):
            yield f"has {heads} query heads, expected a multiple of its {shared} key heads"
        yield from expect_shape("key", self.key, (batch, keys, shared, depth))
        yield from expect_shape("value", self.value, (batch, keys, shared, shape(self.value)[3]))
        yield from expect_shape(
            "result", self.result, (batch, queries, heads, shape(self.value)[3])
        )
        if self.mask is not None:
            yield from expect_element("mask", self.mask, "i1", "i8", *mask_elements)
            yield from expect_broadcast("mask", self.mask, (batch, heads, queries, keys))

    def _visible(self, queries: int, keys: int, mask: list[Array]) -> Array:
        """Which keys each query sees, broadcastable to (batch, heads, queries, keys)."""
        visible = np.ones((1, 1, queries, keys), np.bool_)
        if self.causal.value:
            visible &= np.tri(queries, keys, keys - queries, dtype=np.bool_)
        if mask:
            visible = visible & (mask[0] != 0)
        return visible

    @staticmethod
    def _heads_first(inputs: tuple[Array, ...]) -> list[Array]:
        """(batch, heads, length, depth) each, keys and values once per query head."""
        parts = [part.swapaxes(1, 2) for part in inputs[:3]]
        group = parts[0].shape[1] // parts[1].shape[1]
        return [parts[0], *(part.repeat(group, axis=1) for part in parts[1:])]


class AttentionOp(_Attention, name="attention", traits=[ext.Pure]):
    """``softmax(query key^T scale) value`` per head.

    query (B, Lq, H, D) f32, key (B, Lk, G, D) f32, value (B, Lk, G, E) f32, where H is a multiple
    of G and H / G neighbouring query heads share a key head (Ainslie et al. 2023); mask broadcast
    to (B, H, Lq, Lk), absent, i1 or i8 with nonzero = visible, or f32 added to the scaled scores;
    result (B, Lq, H, E). causal hides key j from query i when j > i + Lk - Lq. A query that sees
    no key gives 0. Vaswani et al. 2017.
    """

    query: ext.Operand[Any]
    key: ext.Operand[Any]
    value: ext.Operand[Any]
    result: ext.Result[Any]
    scale: ir.FloatAttr
    causal: BooleanAttribute
    mask: ext.Operand[Any] | None = None

    def check(self) -> Iterator[str]:
        yield from self._check_operands("f32", "f32")

    def reference(self, *inputs: Array) -> Array:
        query, key, value = self._heads_first(inputs)
        scores = np.matmul(query, key.swapaxes(2, 3)) * np.float32(self.scale.value)
        masks = list(inputs[3:])
        if masks and masks[0].dtype == np.float32:
            scores = scores + masks.pop()
        visible = self._visible(query.shape[2], key.shape[2], masks)
        scores = np.where(visible, scores, np.float32(-np.inf))
        top = scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores - np.where(np.isfinite(top), top, np.float32(0)))
        total = weights.sum(axis=-1, keepdims=True)
        mixed = np.matmul(weights, value) / np.where(total == 0, np.float32(1), total)
        return np.ascontiguousarray(mixed.swapaxes(1, 2))


class IntegerAttentionOp(_Attention, name="integer_attention", traits=[ext.Pure]):
    """Integer-only attention, a fold over groups of `KEY_GROUP` keys in their order.

    The groups are part of the definition (an online softmax: Dao et al. 2022), so no value depends
    on tiles. query, key, value i8 and heads as in `attention`, mask i1 or i8; result i8.
    (score_multiplier, score_shift) takes q.k to the log2 domain with 8 fraction bits;
    (output_multiplier, output_shift) takes value's unit to the result's. docs/numerics.md,
    integer_attention.
    """

    query: ext.Operand[Any]
    key: ext.Operand[Any]
    value: ext.Operand[Any]
    result: ext.Result[Any]
    score_multiplier: ir.IntegerAttr
    score_shift: ir.IntegerAttr
    output_multiplier: ir.IntegerAttr
    output_shift: ir.IntegerAttr
    causal: BooleanAttribute
    mask: ext.Operand[Any] | None = None

    def check(self) -> Iterator[str]:
        problems = list(self._check_operands("i8"))
        yield from problems
        yield from expect_element("result", self.result, "i8")
        yield from expect_shift("score_shift", self.score_shift.value)
        yield from expect_shift("output_shift", self.output_shift.value)
        if problems:
            return
        keys, depth = shape(self.key)[1], shape(self.query)[3]
        if keys > MAXIMUM_KEYS:
            yield f"attends to {keys} keys, expected at most {MAXIMUM_KEYS} to fit int32"
        if depth > MAXIMUM_HEAD_DEPTH:
            yield f"has head depth {depth}, expected at most {MAXIMUM_HEAD_DEPTH} to fit int32"

    def reference(self, *inputs: Array) -> Array:
        query, key, value = self._heads_first(inputs)
        rows, keys = query.shape[:3], key.shape[2]
        visible = self._visible(rows[2], keys, list(inputs[3:]))
        visible = np.broadcast_to(visible, (*rows, keys))
        top = np.full((*rows, 1), arithmetic.SCORE_HIDDEN, np.int32)
        # The weighted sums of the values, and beside them that of the weights.
        state = np.zeros((*rows, value.shape[3] + 1), np.int32)
        for first in range(0, keys, arithmetic.KEY_GROUP):
            group = slice(first, first + arithmetic.KEY_GROUP)
            dots = arithmetic.integer_matmul(query, key[:, :, group].swapaxes(2, 3))
            scores = arithmetic.rescale(
                dots, self.score_multiplier.value, self.score_shift.value, np.int16
            ).astype(np.int32)
            scores[~visible[..., group]] = arithmetic.SCORE_HIDDEN
            before, top = top, np.maximum(top, scores.max(axis=-1, keepdims=True))
            weights = arithmetic.exponential(top - scores)
            weights[scores == arithmetic.SCORE_HIDDEN] = 0
            mixed = arithmetic.integer_matmul(weights, value[:, :, group])
            total = weights.sum(axis=-1, keepdims=True, dtype=np.int32)
            added = np.concatenate([mixed, total], axis=-1)
            state = arithmetic.fold(state, arithmetic.correction(top - before), added)
        result = arithmetic.normalize(
            state[..., :-1], state[..., -1:], self.output_multiplier.value, self.output_shift.value
        )
        return np.ascontiguousarray(result.swapaxes(1, 2))
