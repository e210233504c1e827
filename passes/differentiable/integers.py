"""Integer `mfm` operations in PyTorch, on both cores: the same bits as `reference()`, only sooner.

`reference()` remains their definition (docs/numerics.md): tests compare the two. They are what an
adaptation runs at every step; whatever is not here is left to `reference()`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from girih.dialects import arithmetic, mfm
from girih.dialects.arithmetic import CORRECTION_BITS, KEY_GROUP, SCORE_HIDDEN
from girih.dialects.mfm.activation import GELU_FRACTION_BITS, GELU_TABLE_ENTRIES
from girih.dialects.mfm.base import numpy_dtype

Form = Callable[..., Tensor]

_EXACT_DEPTH = (1 << 24) // (255 * 128)
"""Products of 8 bits whose sum float32 holds exactly, one factor without sign."""
_SCORES = 1 << 19
"""Scores that attention has in memory at a time."""

_NOTHING = 1 << 12
"""Distance of a score from its maximum from which on its weight is 0."""


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Exact product of int8 (..., C) and (N, C) as int32."""
    if not _int_mm_is_exact():
        return _float_product(x, weight.T)
    # It takes no rows that overlap, as those of a convolution do.
    lhs, rhs = x.flatten(0, -2).contiguous(), weight.contiguous()
    sums: Tensor = torch.ops.aten._int_mm(lhs, rhs.T)
    return sums.view(*x.shape[:-1], len(weight))


@cache
def _int_mm_is_exact() -> bool:
    """Whether int8 products are on this processor: those of two may be summed in int16 on some."""
    extreme = torch.full((32, 64), -128, dtype=torch.int8)
    found = torch.ops.aten._int_mm(extreme, extreme.T)
    return bool((found == 64 * 128 * 128).all())


def _float_product(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Exact product of 8-bit matrices as int32: float32 products of as many as it sums exactly."""
    total: Tensor | None = None
    for first in range(0, lhs.shape[-1], _EXACT_DEPTH):
        part = slice(first, first + _EXACT_DEPTH)
        sums = torch.matmul(lhs[..., part].float(), rhs[..., part, :].float()).int()
        total = sums if total is None else total.add_(sums)
    assert total is not None
    return total


def _half(shift: int | Tensor) -> int | Tensor:
    if isinstance(shift, int):
        return 1 << (shift - 1)
    return torch.ones_like(shift).bitwise_left_shift(shift - 1)


def _rescale(
    value: Tensor,
    multiplier: int | Tensor,
    shift: int | Tensor,
    dtype: torch.dtype,
    offset: int = 0,
) -> Tensor:
    """`arithmetic.rescale`."""
    scaled = (value.long() * multiplier).add_(_half(shift)).bitwise_right_shift_(shift)
    return _saturate(scaled.add_(offset) if offset else scaled, dtype)


def _saturate(value: Tensor, dtype: torch.dtype) -> Tensor:
    """`arithmetic.saturate`; `value` is not used any more."""
    limits = torch.iinfo(dtype)
    return value.clamp_(limits.min, limits.max).to(dtype)


def _type_of(result: Any) -> torch.dtype:
    return {"int8": torch.int8, "int16": torch.int16}[numpy_dtype(result).name]


def _linear(op: mfm.IntegerLinearOp) -> Form:
    dtype = _type_of(op.result)

    def run(x: Tensor, weight: Tensor, parameters: Tensor) -> Tensor:
        bias, multiplier, shift = parameters
        return _rescale(_product(x, weight) + bias, multiplier, shift.long(), dtype)

    return run


def _conv1d(op: mfm.IntegerConv1dOp) -> Form:
    kernel, stride, padding = op.kernel.value, op.stride.value, op.padding.value
    dtype = _type_of(op.result)

    def run(x: Tensor, weight: Tensor, parameters: Tensor) -> Tensor:
        rows = F.pad(x, (0, 0, padding, padding)).unfold(1, kernel, stride)
        rows = rows.transpose(2, 3).flatten(2)
        bias, multiplier, shift = parameters
        return _rescale(_product(rows, weight) + bias, multiplier, shift.long(), dtype)

    return run


def _add(op: mfm.IntegerAddOp) -> Form:
    left, right, shift = op.lhs_multiplier.value, op.rhs_multiplier.value, op.shift.value
    dtype = _type_of(op.result)

    def run(lhs: Tensor, rhs: Tensor) -> Tensor:
        total = lhs.long() * left + rhs.long() * right
        return _saturate(total.add_(_half(shift)).bitwise_right_shift_(shift), dtype)

    return run


def _gelu(op: mfm.IntegerGeluOp) -> Form:
    multiplier, shift, offset = op.index_multiplier.value, op.index_shift.value, op.offset.value
    dtype = _type_of(op.result)

    def run(x: Tensor, parameters: Tensor, table: Tensor) -> Tensor:
        # One entry for each int16 there is, from 0 on and then those below 0.
        wide = torch.arange(1 << 16).short().long()
        index = (wide.abs() * multiplier + _half(shift)) >> shift
        even = table.long()[index.clamp(max=GELU_TABLE_ENTRIES - 1)]
        every = (wide.clamp(min=0) << GELU_FRACTION_BITS) + even
        value = every[x.int() & 0xFFFF]
        scale, steps = parameters.long()
        return _rescale(value, scale, steps, dtype, offset)

    return run


def _layer_norm(op: mfm.IntegerLayerNormOp) -> Form:
    epsilon, shift = op.epsilon.value, op.shift.value
    dtype = _type_of(op.result)

    def run(x: Tensor, parameters: Tensor) -> Tensor:
        gamma, beta = parameters.long()
        wide, width = x.long(), x.shape[-1]
        mean = (32 * wide.sum(-1, keepdim=True) + width).div(2 * width, rounding_mode="floor")
        return _normalized(16 * wide - mean, gamma, beta, epsilon, shift, dtype)

    return run


def _rms_norm(op: mfm.IntegerRmsNormOp) -> Form:
    epsilon, shift = op.epsilon.value, op.shift.value
    dtype = _type_of(op.result)

    def run(x: Tensor, parameters: Tensor) -> Tensor:
        wide = parameters[0].long()
        return _normalized(16 * x.long(), wide, torch.zeros_like(wide), epsilon, shift, dtype)

    return run


def _normalized(
    centered: Tensor, gamma: Tensor, beta: Tensor, epsilon: int, shift: int, dtype: torch.dtype
) -> Tensor:
    squares = centered.square().sum(-1, keepdim=True)
    variance = squares.div(centered.shape[-1], rounding_mode="floor") + epsilon
    root = torch.from_numpy(arithmetic.integer_square_root((variance << 20).numpy()))
    normalized = centered.mul_((1 << 42) // root).add_(1 << 15).bitwise_right_shift_(16)
    scaled = normalized.mul_(gamma).add_((beta << 8) + _half(shift))
    return _saturate(scaled.bitwise_right_shift_(shift), dtype)


def _attention(op: mfm.IntegerAttentionOp) -> Form:
    score, score_shift = op.score_multiplier.value, op.score_shift.value
    output, output_shift = op.output_multiplier.value, op.output_shift.value
    causal = bool(op.causal.value)

    def attend(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """Some rows: query (B, H, 1, L, D), key (B, H, G, D, 64), value (B, H, G, 64, E)."""
        scores = _scores(query, key, score, score_shift)
        if hidden.any():
            scores.masked_fill_(hidden, SCORE_HIDDEN)
        tops = scores.amax(-1, keepdim=True).cummax(2).values
        distances = (tops - scores).flatten()
        weights = _exponentials().index_select(0, distances).view(scores.shape)
        if tops.amin() < SCORE_HIDDEN + _NOTHING:
            weights.masked_fill_(scores == SCORE_HIDDEN, 0)
        added = _float_product(weights, value)
        kept = _corrections()[tops.diff(dim=2)]
        state = added[:, :, 0].long()
        for group in range(1, key.shape[2]):
            state = _fold(state, kept[:, :, group - 1], added[:, :, group])
        total = state[..., -1:]
        reciprocal = torch.where(total == 0, 0, (output << 8) // total.clamp(min=1))
        return _rescale(state[..., :-1] * reciprocal, 1, output_shift, torch.int8)

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        shared = query.shape[2] // key.shape[2]
        queries, keys = query.shape[1], key.shape[1]
        hidden = _hidden(queries, keys, causal, mask)
        query = query.transpose(1, 2).unsqueeze(2).float()
        key = _groups(key, shared).transpose(-1, -2).contiguous()
        # The sum of the weights comes out beside those of the values: a column of ones.
        value = _groups(F.pad(value, (0, 1), value=1), shared)
        rows = max(1, _SCORES // (query.shape[0] * query.shape[1] * keys))
        mixed: list[Tensor] = []
        for first in range(0, queries, rows):
            part = slice(first, first + rows)
            seen = hidden[..., part, :] if hidden.shape[-2] > 1 else hidden
            mixed.append(attend(query[..., part, :], key, value, seen))
        return torch.cat(mixed, 2).transpose(1, 2).contiguous()

    return run


def _scores(query: Tensor, key: Tensor, multiplier: int, shift: int) -> Tensor:
    """Rescaled sums of products of 8 bits, as int32 within int16."""
    if query.shape[-1] > 128 or shift > 53:
        return _rescale(_float_product(query, key), multiplier, shift, torch.int16).int()
    # Below 2^53, where float64 is exact, and several times as fast as int64.
    dots = torch.matmul(query, key).double()
    scaled = dots.mul_(multiplier).add_(_half(shift)).mul_(2.0**-shift)
    return scaled.floor_().clamp_(-32768, 32767).int()


def _groups(part: Tensor, shared: int) -> Tensor:
    """Keys or values (B, L, H, D) --> float (B, H, groups, 64, D), zeros behind the last one."""
    padded = F.pad(part, (0, 0, 0, 0, 0, -part.shape[1] % KEY_GROUP)).float()
    heads = padded.transpose(1, 2).repeat_interleave(shared, dim=1)
    return heads.unflatten(2, (-1, KEY_GROUP))


def _hidden(queries: int, keys: int, causal: bool, mask: Tensor | None) -> Tensor:
    """Keys that a query does not see, broadcastable to (batch, heads, groups, queries, 64)."""
    hidden = torch.zeros(1, 1, 1, keys, dtype=torch.bool)
    if mask is not None:
        hidden = hidden | (mask == 0)
    if causal:
        hidden = hidden | torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    padded = F.pad(hidden, (0, -keys % KEY_GROUP), value=True)
    return padded.unflatten(-1, (-1, KEY_GROUP)).transpose(2, 3)


def _fold(state: Tensor, factor: Tensor, added: Tensor) -> Tensor:
    kept = (state * factor).add_(1 << (CORRECTION_BITS - 1))
    return kept.bitwise_right_shift_(CORRECTION_BITS).add_(added)


@cache
def _exponentials() -> Tensor:
    """`arithmetic.exponential` of every distance that two scores can have, as float32."""
    return torch.from_numpy(arithmetic.exponential(torch.arange(1 << 16).numpy())).float()


@cache
def _corrections() -> Tensor:
    """`arithmetic.correction` of every distance that two maxima can have."""
    return torch.from_numpy(arithmetic.correction(torch.arange(1 << 16).numpy())).long()


FORMS: dict[type, Callable[[Any], Form]] = {
    mfm.IntegerAddOp: _add,
    mfm.IntegerAttentionOp: _attention,
    mfm.IntegerConv1dOp: _conv1d,
    mfm.IntegerGeluOp: _gelu,
    mfm.IntegerLayerNormOp: _layer_norm,
    mfm.IntegerLinearOp: _linear,
    mfm.IntegerRmsNormOp: _rms_norm,
}
