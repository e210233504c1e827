"""integer_attention: the scores of a query tile stay on chip; only q, k, v and the result move.

The exact maximum of a row is known before its first exponential: either all scores of the query
tile wait on chip as int16, or, where a row is too long for that, QK is computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch_mlir import ir

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import ACCUMULATE as ADD_TO
from girih.dialects.npu.matrix import B_TRANSPOSED
from girih.dialects.npu.vector import ACCUMULATE, CAUSAL, MASKED
from girih.passes.tiling.attention_cost import (
    Attention,
    AttentionTiles,
    attention_bytes,
    choose_attention,
)
from girih.passes.tiling.emitter import Affine, Buffer, Tile, View
from girih.passes.tiling.layer import LayerTiler


@dataclass(frozen=True)
class _Head:
    """A query head, and the key/value head that it reads."""

    batch: int
    own: Tile
    shared: Tile


@dataclass
class _Buffers:
    """On-chip buffers; keys and values have one slot per block, or two that take turns."""

    query: Buffer
    key: Buffer
    value: Buffer
    dots: Buffer
    scores: Buffer
    weights: Buffer
    maximum: Buffer
    total: Buffer
    mixed: Buffer
    output: Buffer
    mask: Buffer | None


class AttentionTiler:
    """Emits one attention, key/value head by key/value head, with the query heads that share it.

    Where there is one query (decoding), those heads' queries are the rows of one product: each key
    moves past the array once. Elsewhere they follow each other past keys that stay on chip, if
    they fit.
    """

    def __init__(self, tiler: LayerTiler, op: mfm.IntegerAttentionOp) -> None:
        self.tiler, self.emitter, self.op = tiler, tiler.emitter, op
        self.batch, self.queries, self.heads, self.depth = shape(op.query)
        self.keys, self.shared = shape(op.key)[1:3]
        self.value_depth = shape(op.value)[3]
        # A causal tile is told where it stands by constants, so its loops are unrolled. One query
        # is the last of its sequence, and sees all of it.
        self.causal = bool(op.causal.value) and self.queries > 1
        self.group = self.heads // self.shared
        self.folded = self.queries == 1 and self.group > 1
        # Rows of the queries from one query to the next, and from one head to the next.
        self.query_step, self.head_step = self.heads, 1
        if self.folded:
            self.query_step, self.head_step = 1, self.group
            self.queries, self.group = self.group, 1
        self.what = Attention(
            self.queries, self.keys, self.depth, self.value_depth, op.mask is not None, self.group
        )
        tiles = choose_attention(self.what, tiler.target)
        if tiles is None:
            tiler.too_small(*attention_bytes(self.what, AttentionTiles(1, 1, False, False)))
        self.tiles: AttentionTiles = tiles
        self.blocks = math.ceil(self.keys / tiles.keys)

    def emit(self) -> None:
        """Emit all batches and heads."""
        buffers = self._allocate()
        for batch in range(self.batch):
            shared = partial(self._emit_shared, batch, buffers)
            self.emitter.tiles(self.shared, 1, shared, unrolled=self._mask_has_heads)

    @property
    def _mask_has_heads(self) -> bool:
        return self.op.mask is not None and shape(self.op.mask)[-3] > 1

    def _allocate(self) -> _Buffers:
        emitter, tiles = self.emitter, self.tiles
        held = self.blocks if tiles.resident else min(2, self.blocks)
        rows, keys = tiles.queries, tiles.keys
        return _Buffers(
            query=emitter.scratchpad("i8", rows, self.depth, 2),
            key=emitter.scratchpad("i8", keys, self.depth, held),
            value=emitter.scratchpad("i8", keys, self.value_depth, held),
            dots=emitter.accumulator(rows, keys),
            scores=emitter.scratchpad("i16", rows, keys, self.blocks if tiles.one_pass else 1),
            weights=emitter.scratchpad("ui8", rows, keys, 2),
            maximum=emitter.scratchpad("i16", rows, 1, 2),
            total=emitter.scratchpad("i32", rows, 1, 2),
            mixed=emitter.accumulator(rows, self.value_depth),
            output=emitter.scratchpad("i8", rows, self.value_depth, 2),
            mask=emitter.scratchpad("i8", rows, keys, 2) if self.op.mask is not None else None,
        )

    def _emit_shared(self, batch: int, buffers: _Buffers, shared: Tile) -> None:
        if self.tiles.resident:
            for value, buffer in ((self.op.key, buffers.key), (self.op.value, buffers.value)):

                def load(block: Tile, value: ir.Value = value, buffer: Buffer = buffer) -> None:
                    self._load(value, buffer, batch, shared, block, block.number)

                self._each_block(load)

        def member(item: Tile) -> None:
            number = shared.number * self.group + item.number
            head = _Head(batch, Tile(number, 1, number), shared)

            def query_tile(query: Tile) -> None:
                self._emit_queries(head, query, buffers)

            self.emitter.tiles(self.queries, self.tiles.queries, query_tile, unrolled=self.causal)

        self.emitter.tiles(self.group, 1, member, unrolled=self._mask_has_heads)

    def _each_block(self, body: Callable[[Tile], None]) -> None:
        # The first block overwrites running maxima and sums, the others add to them; the rest are
        # few, so they are unrolled: loops are kept for queries and heads.
        self.emitter.tiles(self.keys, self.tiles.keys, body, unrolled=True)

    def _load(
        self, value: ir.Value, buffer: Buffer, batch: int, head: Tile, block: Tile, slot: Affine
    ) -> None:
        """A block of one head's keys or values."""
        _, length, heads, depth = shape(value)
        row = (block.start + batch * length) * heads + head.start
        source = self.tiler.dram(value).at(row * depth, heads * depth)
        self.emitter.load(source, buffer.at(slot=slot), block.size, depth)

    def _emit_queries(self, head: _Head, query: Tile, buffers: _Buffers) -> None:
        emitter, op = self.emitter, self.op
        query_tiles = math.ceil(self.queries / self.tiles.queries)
        order = head.own.number * query_tiles + query.number
        target = buffers.query.at(slot=order)
        source = self._place(op.query, head, query, self.depth)
        emitter.load(source, target, query.size, self.depth)

        score = partial(self._score, head, query, order, buffers)
        weigh = partial(self._weigh, head, query, order, buffers)
        self._each_block(score)
        if self.tiles.one_pass:
            self._each_block(weigh)
        else:

            def again(block: Tile) -> None:
                score(block, second=True)
                weigh(block)

            self._each_block(again)
        output = buffers.output.at(slot=order)
        emitter.emit(
            npu.NormalizeOp,
            [buffers.mixed.at(slot=order), output, buffers.total.at(slot=order)],
            query.size,
            self.value_depth,
            immediates=(op.output_multiplier.value, op.output_shift.value),
        )
        place = self._place(op.result, head, query, self.value_depth)
        emitter.store(output, place, query.size, self.value_depth)

    def _place(self, value: ir.Value, head: _Head, query: Tile, depth: int) -> View:
        """Where the rows of a query tile lie in the queries or the result."""
        row = query.start * self.query_step + head.own.start * self.head_step
        row = row + head.batch * (math.prod(shape(value)[1:3]))
        return self.tiler.dram(value).at(row * depth, self.query_step * depth)

    def _score(
        self,
        head: _Head,
        query: Tile,
        order: Affine,
        buffers: _Buffers,
        block: Tile,
        second: bool = False,
    ) -> None:
        emitter, op = self.emitter, self.op
        slot = block.number
        if not self.tiles.resident:
            slot = self._streamed(order, block, second)
            self._load(op.key, buffers.key, head.batch, head.shared, block, slot)
        dots = buffers.dots.at(slot=self._streamed(order, block, second), pitch=4 * block.size)
        emitter.emit(
            npu.MatmulOp,
            [buffers.query.at(slot=order), buffers.key.at(slot=slot), dots],
            query.size,
            block.size,
            self.depth,
            B_TRANSPOSED,
        )
        flags = ACCUMULATE if block.number.constant or second else 0
        mask = None
        if buffers.mask is not None:
            mask = self._load_mask(head, query, block, order, buffers.mask, second)
            flags |= MASKED
        first_query = 0
        if self.causal:
            flags |= CAUSAL
            first_query = query.start.constant + self.keys - self.queries
        emitter.emit(
            npu.ScoresOp,
            [dots, self._scores(block, buffers), buffers.maximum.at(slot=order), mask],
            query.size,
            block.size,
            flags=flags,
            immediates=(
                op.score_multiplier.value,
                op.score_shift.value,
                first_query,
                block.start.constant if self.causal else 0,
            ),
        )

    def _streamed(self, order: Affine, block: Tile, second: bool) -> Affine:
        passes = 1 if self.tiles.one_pass else 2
        return (order * passes + int(second)) * self.blocks + block.number

    def _scores(self, block: Tile, buffers: _Buffers) -> View:
        return buffers.scores.at(slot=block.number, pitch=2 * block.size)

    def _load_mask(
        self,
        head: _Head,
        query: Tile,
        block: Tile,
        order: Affine,
        buffer: Buffer,
        second: bool,
    ) -> View:
        sizes = (1,) * (4 - len(shape(self.op.mask))) + shape(self.op.mask)
        if self.folded and sizes[1] > 1:
            sizes = (sizes[0], self.shared, self.queries, sizes[3])
        strides = [sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1]
        steps = [stride if size > 1 else 0 for size, stride in zip(sizes, strides, strict=True)]
        origin = query.start * steps[2] + head.own.start * steps[1] + block.start * steps[3]
        origin = origin + head.batch * steps[0]
        rows = query.size if sizes[2] > 1 else 1
        slot = self._streamed(order, block, second)
        self.emitter.load(
            self.tiler.dram(self.op.mask).at(origin, sizes[3]),
            buffer.at(slot=slot, pitch=block.size),
            rows,
            block.size,
        )
        return buffer.at(slot=slot, pitch=block.size if rows > 1 or query.size == 1 else 0)

    def _weigh(
        self, head: _Head, query: Tile, order: Affine, buffers: _Buffers, block: Tile
    ) -> None:
        emitter = self.emitter
        number = order * self.blocks + block.number
        weights = buffers.weights.at(slot=number, pitch=block.size)
        later = bool(block.number.constant)
        emitter.emit(
            npu.ExponentialOp,
            [
                self._scores(block, buffers),
                weights,
                buffers.maximum.at(slot=order),
                buffers.total.at(slot=order),
            ],
            query.size,
            block.size,
            flags=ACCUMULATE if later else 0,
        )
        slot = block.number
        if not self.tiles.resident:
            slot = number
            self._load(self.op.value, buffers.value, head.batch, head.shared, block, slot)
        emitter.emit(
            npu.MatmulOp,
            [weights, buffers.value.at(slot=slot), buffers.mixed.at(slot=order)],
            query.size,
            self.value_depth,
            block.size,
            ADD_TO if later else 0,
        )
