"""The vector engine: rescaling, nonlinear functions and the parts of an integer softmax."""

from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.activation import GELU_FRACTION_BITS, GELU_TABLE_ENTRIES
from girih.dialects.npu.base import Array, Instruction, dtype, flag

SCALAR, PER_ROW = 1, 2
UNCENTERED = 1
MASKED, CAUSAL = 1, 2

_ON_CHIP = ("scratchpad", "accumulator")
_SCRATCHPAD = ("scratchpad",)


class FillOp(Instruction, name="fill"):
    """Set rows x columns elements to immediate 0."""

    target: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_SCRATCHPAD,)
    WRITES = (0,)

    def reference(self, *tiles: Array) -> Array:
        return np.full_like(tiles[0], self.immediates[0])


class RescaleOp(Instruction, name="rescale"):
    """``rescale(source + bias, multiplier, shift)`` to the target's dtype.

    parameters: planar (3 x columns) i32; per row (rows x 3) i32 with flag 2; absent with flag 1,
    when bias, multiplier and shift are immediates 0 to 2.
    """

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    parameters: ext.Operand[Any] | None = None

    ENGINE = "vector"
    SPACES = (_ON_CHIP, _SCRATCHPAD, _SCRATCHPAD)
    WRITES = (1,)

    def extent(self, index: int) -> tuple[int, int]:
        if index == 2:
            return (self.rows.value, 12) if flag(self, PER_ROW) else (3, 4 * self.columns.value)
        return super().extent(index)

    def reference(self, *tiles: Array) -> Array:
        if flag(self, SCALAR):
            bias, multiplier, shift = list(self.immediates)[:3]
        elif flag(self, PER_ROW):
            bias, multiplier, shift = (column[:, None] for column in tiles[2].T)
        else:
            bias, multiplier, shift = tiles[2]
        total = (tiles[0].astype(np.int64) + bias).astype(np.int32)
        return arithmetic.rescale(total, multiplier, shift, dtype(self.target))


class AddOp(Instruction, name="add"):
    """integer_add: multipliers and shift are immediates 0 to 2."""

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    target: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_SCRATCHPAD, _SCRATCHPAD, _SCRATCHPAD)
    WRITES = (2,)

    def reference(self, *tiles: Array) -> Array:
        first, second, shift = list(self.immediates)[:3]
        total = tiles[0].astype(np.int64) * first + tiles[1].astype(np.int64) * second
        return arithmetic.saturate((total + arithmetic.half(shift)) >> shift, dtype(self.target))


class MultiplyOp(Instruction, name="multiply"):
    """integer_multiply: multiplier and shift are immediates 0 and 1."""

    lhs: ext.Operand[Any]
    rhs: ext.Operand[Any]
    target: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_SCRATCHPAD, _SCRATCHPAD, _SCRATCHPAD)
    WRITES = (2,)

    def reference(self, *tiles: Array) -> Array:
        multiplier, shift = list(self.immediates)[:2]
        product = tiles[0].astype(np.int32) * tiles[1].astype(np.int32)
        return arithmetic.rescale(product, multiplier, shift, dtype(self.target))


class GeluOp(Instruction, name="gelu"):
    """integer_gelu: index multiplier, index shift and offset are immediates 0 to 2."""

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    parameters: ext.Operand[Any]
    table: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_SCRATCHPAD,) * 4
    WRITES = (1,)

    def extent(self, index: int) -> tuple[int, int]:
        if index == 3:
            return 1, 4 * GELU_TABLE_ENTRIES
        return (2, 4 * self.columns.value) if index == 2 else super().extent(index)

    def reference(self, *tiles: Array) -> Array:
        source, _, (multiplier, shift), table = tiles
        wide = source.astype(np.int64)
        index_multiplier, index_shift, offset = list(self.immediates)[:3]
        scaled = np.abs(wide) * index_multiplier + arithmetic.half(index_shift)
        index = np.minimum(scaled >> index_shift, GELU_TABLE_ENTRIES - 1)
        value = (np.maximum(wide, 0) << GELU_FRACTION_BITS) + table.reshape(-1)[index]
        return arithmetic.rescale(value, multiplier, shift, dtype(self.target), offset)


class LayerNormOp(Instruction, name="layer_norm"):
    """integer_layer_norm per row: epsilon and shift are immediates 0 and 1.

    With flag 1, integer_rms_norm: parameters (1 x columns) instead of (2 x columns).
    """

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    parameters: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_SCRATCHPAD,) * 3
    WRITES = (1,)

    def extent(self, index: int) -> tuple[int, int]:
        if index == 2:
            return (1 if flag(self, UNCENTERED) else 2), 4 * self.columns.value
        return super().extent(index)

    def reference(self, *tiles: Array) -> Array:
        x, parameters = tiles[0].astype(np.int64), tiles[2].astype(np.int64)
        epsilon, shift = list(self.immediates)[:2]
        if flag(self, UNCENTERED):
            return arithmetic.rms_norm(x, parameters[0], epsilon, shift, dtype(self.target))
        gamma, beta = parameters
        return arithmetic.layer_norm(x, gamma, beta, epsilon, shift, dtype(self.target))


class ScoresOp(Instruction, name="scores"):
    """Attention scores to the log2 domain, hidden keys to -32768, and the rows' running maxima.

    maximum (rows x 2): the maximum so far, which rises, and what it was before this.
    Immediates: multiplier, shift, the tile's first query (causal offset included), first key.
    """

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    maximum: ext.Operand[Any]
    mask: ext.Operand[Any] | None = None

    ENGINE = "vector"
    SPACES = (("accumulator",), _SCRATCHPAD, _SCRATCHPAD, _SCRATCHPAD)
    WRITES = (1, 2)

    def reads(self, index: int) -> bool:
        return index != 1

    def extent(self, index: int) -> tuple[int, int]:
        return (self.rows.value, 4) if index == 2 else super().extent(index)

    def reference(self, *tiles: Array) -> tuple[Array, Array]:
        multiplier, shift, query, key = list(self.immediates)[:4]
        scores = arithmetic.rescale(tiles[0], multiplier, shift, np.int16)
        hidden = np.zeros(scores.shape, np.bool_)
        if flag(self, MASKED):
            hidden |= tiles[3] == 0
        if flag(self, CAUSAL):
            rows, columns = np.indices(scores.shape)
            hidden |= key + columns > query + rows
        scores[hidden] = arithmetic.SCORE_HIDDEN
        before = tiles[2][:, :1]
        top = np.maximum(before, scores.max(axis=1, keepdims=True))
        return scores, np.concatenate([top, before], axis=1)


class ExponentialOp(Instruction, name="exponential"):
    """Softmax numerators below the row's maximum as u8.

    sums (rows x 2) i32: their sum, and the factor of what was summed below the maximum before.
    """

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    maximum: ext.Operand[Any]
    sums: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_SCRATCHPAD,) * 4
    WRITES = (1, 3)

    def extent(self, index: int) -> tuple[int, int]:
        per_row = {2: 4, 3: 8}
        return (self.rows.value, per_row[index]) if index in per_row else super().extent(index)

    def reference(self, *tiles: Array) -> tuple[Array, Array]:
        scores, maximum = tiles[0].astype(np.int32), tiles[2].astype(np.int32)
        top, before = maximum[:, :1], maximum[:, 1:]
        weights = arithmetic.exponential(top - scores)
        weights[scores == arithmetic.SCORE_HIDDEN] = 0
        total = weights.sum(axis=1, keepdims=True, dtype=np.int32)
        return weights, np.concatenate([total, arithmetic.correction(top - before)], axis=1)


class FoldOp(Instruction, name="fold"):
    """Weighted sums of a group of keys, added to those of the keys before it.

    state (rows x (columns + 1)) i32: the weighted sums, and beside them the sum of the weights;
    sums (rows x 2) i32, as `exponential` leaves them. ``state = state * factor / 2^30 + new``.
    """

    source: ext.Operand[Any]
    state: ext.Operand[Any]
    sums: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (("accumulator",), _SCRATCHPAD, _SCRATCHPAD)
    WRITES = (1,)

    def reads(self, index: int) -> bool:
        return True

    def extent(self, index: int) -> tuple[int, int]:
        per_row = {1: 4 * (self.columns.value + 1), 2: 8}
        return (self.rows.value, per_row[index]) if index in per_row else super().extent(index)

    def reference(self, *tiles: Array) -> Array:
        source, state, sums = tiles
        added = np.concatenate([source, sums[:, :1]], axis=1)
        return arithmetic.fold(state, sums[:, 1:], added)


class NormalizeOp(Instruction, name="normalize"):
    """Weighted sums over their rows' totals: multiplier and shift are immediates 0 and 1."""

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    total: ext.Operand[Any]

    ENGINE = "vector"
    SPACES = (_ON_CHIP, _SCRATCHPAD, _SCRATCHPAD)
    WRITES = (1,)

    def extent(self, index: int) -> tuple[int, int]:
        return (self.rows.value, 4) if index == 2 else super().extent(index)

    def reference(self, *tiles: Array) -> Array:
        multiplier, shift = list(self.immediates)[:2]
        return arithmetic.normalize(tiles[0], tiles[2], multiplier, shift)
