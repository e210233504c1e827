"""integer_attention: scores and weights stay on chip; only q, k, v and the result move."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from girih.dialects import mfm
from girih.dialects.arithmetic import KEY_GROUP
from girih.dialects.mfm.base import shape
from girih.passes.tiling.attention_cost import (
    SMALLEST,
    Attention,
    AttentionTiles,
    attention_bytes,
    attention_candidates,
)
from girih.passes.tiling.attention_layout import AttentionLayout, Head
from girih.passes.tiling.attention_steps import AttentionBuffers, AttentionSteps, Step
from girih.passes.tiling.choice import choose
from girih.passes.tiling.emitter import Affine, Tile
from girih.passes.tiling.layer import LayerTiler


@dataclass(frozen=True)
class _Block:
    """Queries of a head whose sums are on chip together; `number` counts all blocks."""

    head: Head
    start: Affine
    size: int
    number: Affine


class AttentionTiler:
    """Emits one attention, key/value head by key/value head, with the query heads that share it.

    ```
    for blocks of queries: load them
        for tiles of keys: load them, unless they are there
            for groups of keys in the tile
                for tiles of queries in the block: one step
    ```
    What the definition carries from group to group, the sums and the maximum, waits in the
    scratchpad. Keys and values move once per block, or once per key/value head where they stay.
    """

    def __init__(
        self,
        tiler: LayerTiler,
        op: mfm.IntegerAttentionOp,
        tiles: AttentionTiles | None = None,
    ) -> None:
        self.tiler, self.emitter, self.op = tiler, tiler.emitter, op
        self.layout = layout = AttentionLayout(tiler, op)
        self.what = Attention(
            layout.queries,
            layout.keys,
            layout.depth,
            layout.value_depth,
            op.mask is not None,
            layout.group,
            layout.causal,
            layout.batch * layout.shared_heads,
        )
        if tiles is None:
            found = choose(
                tiler,
                self.what,
                AttentionTiles,
                lambda: attention_candidates(self.what, tiler.target),
                lambda sketch, each: AttentionTiler(sketch, op, each).emit(),
            )
            if found is None:
                tiler.too_small(*attention_bytes(self.what, SMALLEST))
            tiles = found.tiles
        self.tiles: AttentionTiles = tiles
        self.tile_keys = tiles.groups * KEY_GROUP
        self.groups = math.ceil(layout.keys / KEY_GROUP)
        self.key_tiles = math.ceil(layout.keys / self.tile_keys)
        self.block_rows = min(tiles.rows * tiles.count, layout.queries)
        self.resident = tiles.held >= self.key_tiles
        self.loaded = 0
        """Tiles of the present head's keys that are on chip to stay."""

    def emit(self) -> None:
        """Emit all batches and heads."""
        self.steps = AttentionSteps(self.emitter, self.op, self.layout, self._allocate())
        has_heads = self.op.mask is not None and len(shape(self.op.mask)) > 2
        unrolled = has_heads and shape(self.op.mask)[-3] > 1
        for batch in range(self.layout.batch):
            shared = partial(self._emit_shared, batch, unrolled)
            self.emitter.tiles(self.layout.shared_heads, 1, shared, unrolled=unrolled)

    def _allocate(self) -> AttentionBuffers:
        emitter, tiles = self.emitter, self.tiles
        depth, value_depth = self.layout.depth, self.layout.value_depth
        rows, keys = tiles.rows, min(KEY_GROUP, self.layout.keys)
        tile_keys = min(self.tile_keys, self.layout.keys)
        return AttentionBuffers(
            query=emitter.scratchpad("i8", rows, depth, tiles.query_slots),
            key=emitter.scratchpad("i8", tile_keys, depth, tiles.held),
            value=emitter.scratchpad("i8", tile_keys, value_depth, tiles.held),
            dots=emitter.accumulator(rows, keys, tiles.sums),
            scores=emitter.scratchpad("i16", rows, keys),
            maximum=emitter.scratchpad("i16", rows, 2, tiles.count),
            weights=emitter.scratchpad("ui8", rows, keys, 2),
            sums=emitter.scratchpad("i32", rows, 2, 2),
            mixed=emitter.accumulator(rows, value_depth, tiles.sums),
            state=emitter.scratchpad("i32", rows, value_depth + 1, tiles.count),
            output=emitter.scratchpad("i8", rows, value_depth, 2),
            mask=emitter.scratchpad("i8", rows, keys, 2) if self.what.masked else None,
        )

    def _emit_shared(self, batch: int, unrolled: bool, shared: Tile) -> None:
        self.loaded = 0
        group = self.layout.group

        def member(number: Affine) -> None:
            self._emit_head(Head(batch, shared.number * group + number, shared.number))

        # The first query head brings the keys that stay for the others.
        apart = int(self.resident)
        if apart:
            member(Affine(0))

        def other(item: Tile) -> None:
            member(item.number + apart)

        self.emitter.tiles(group - apart, 1, other, unrolled=unrolled)

    def _emit_head(self, head: Head) -> None:
        full, rest = divmod(self.layout.queries, self.block_rows)
        before = head.own * (full + bool(rest))

        def block(number: Affine, size: int) -> None:
            self._emit_block(_Block(head, number * self.block_rows, size, before + number))

        def full_block(item: Tile) -> None:
            block(item.number + apart, self.block_rows)

        # A causal tile is told where it stands by constants, and loops nest four deep at most.
        unrolled = self.what.causal or self.layout.group > 1
        # The first block brings the keys that stay for the others.
        apart = int(self.resident and not unrolled)
        if apart:
            block(Affine(0), self.block_rows)
        self.emitter.tiles(full - apart, 1, full_block, unrolled=unrolled)
        if rest:
            block(Affine(full), rest)

    def _emit_block(self, block: _Block) -> None:
        rows = [self._rows(block, Affine(number)) for number in range(self._count(block))]
        # Tiles of keys that all queries see, and after which all of them see more, are alike.
        seen = [self._seen(tile) for tile in rows]
        more = (math.ceil(min(seen) / KEY_GROUP) - 1) // self.tiles.groups
        alike = max(min(more, self._shown(rows[0]) // self.tile_keys), 0)
        there = min(self.loaded, alike)
        self._emit_tiles(block, 0, there, load=False)
        self._emit_tiles(block, there, alike, load=True)
        if self.what.causal:
            self._emit_diagonal(block, rows, alike)
        else:
            for group in range(alike * self.tiles.groups, self.groups):
                self._load(block, Affine(group // self.tiles.groups), group)
                last = group == self.groups - 1
                self._emit_rows(block, partial(self._step, block, Affine(group), last=last))
        self.steps.finish()
        if self.resident:
            self.loaded = max(self.loaded, math.ceil(max(seen) / self.tile_keys))

    def _count(self, block: _Block) -> int:
        """Tiles of queries in a block."""
        return math.ceil(block.size / self.tiles.rows)

    def _rows(self, block: _Block, number: Affine) -> Tile:
        """A tile of a block's queries."""
        start, size = number * self.tiles.rows, self.tiles.rows
        if number.known is not None:
            size = min(size, block.size - number.known * size)
        return Tile(block.start + start, size, number)

    def _seen(self, rows: Tile) -> int:
        """Keys that some query of a tile sees."""
        if not self.what.causal:
            return self.layout.keys
        end = rows.start.constant + rows.size + self.layout.keys - self.layout.queries
        return max(end, 0)

    def _shown(self, rows: Tile) -> int:
        """Keys that every query of a tile sees."""
        return self._seen(rows) - rows.size + 1 if self.what.causal else self.layout.keys

    def _load(self, block: _Block, tile: Affine, group: int) -> None:
        """Bring a tile of keys before its first group, unless it is there."""
        start = tile * self.tile_keys
        if group % self.tiles.groups or (self.resident and tile.constant < self.loaded):
            return
        if self.tiles.held == 1:
            # The step before this one still needs the values that lie there.
            self.steps.finish()
        size = self.tile_keys
        if tile.known is not None:
            size = min(size, self.layout.keys - start.constant)
        self.steps.load(block.head, Tile(start, size, self._key_slot(block, tile)))

    def _emit_tiles(self, block: _Block, begun: int, end: int, load: bool) -> None:
        """Tiles of keys that are alike."""
        if begun == 0 and end > 0:
            self._emit_tile(block, Affine(0), load)
            begun = 1
        if end - begun == 1:
            self._emit_tile(block, Affine(begun), load)
        elif end > begun:
            with self.emitter.loop(end - begun) as iteration:
                self.steps.pending = self._last_step(block, iteration + (begun - 1))
                self._emit_tile(block, iteration + begun, load)
            self.steps.pending = self._last_step(block, Affine(end - 1))

    def _emit_tile(self, block: _Block, tile: Affine, load: bool) -> None:
        for position in range(self.tiles.groups):
            if load:
                self._load(block, tile, position)
            group = tile * self.tiles.groups + position
            self._emit_rows(block, partial(self._step, block, group))

    def _last_step(self, block: _Block, tile: Affine) -> Step:
        group = tile * self.tiles.groups + (self.tiles.groups - 1)
        return self._step(block, group, self._rows(block, Affine(self._count(block) - 1)))

    def _emit_rows(self, block: _Block, step: Callable[[Tile], Step]) -> None:
        """All queries of a block meet a group of keys."""
        full, rest = divmod(block.size, self.tiles.rows)
        if full:
            self.steps.repeat(full, lambda number: step(self._rows(block, number)))
        if rest:
            self.steps.advance(step(self._rows(block, Affine(full))))

    def _emit_diagonal(self, block: _Block, rows: list[Tile], alike: int) -> None:
        """The groups of keys of which a causal block's queries see different parts."""
        first = alike * self.tiles.groups
        number = self._number(block, Affine(first))
        for group in range(first, math.ceil(self._seen(rows[-1]) / KEY_GROUP)):
            self._load(block, Affine(group // self.tiles.groups), group)
            for tile in rows:
                keys = min(self._seen(tile) - group * KEY_GROUP, KEY_GROUP)
                if keys <= 0:
                    continue
                step = self._step(
                    block, Affine(group), tile, last=self._seen(tile) <= (group + 1) * KEY_GROUP
                )
                hides = group * KEY_GROUP + keys > self._shown(tile)
                self.steps.advance(replace(step, keys=keys, hides=hides, number=number))
                number = number + 1
        for tile in rows:
            if self._seen(tile) == 0:
                self.steps.nothing_seen(block.head, tile, self._query_slot(block, tile))

    def _step(self, block: _Block, group: Affine, rows: Tile, last: bool = False) -> Step:
        groups = self.tiles.groups
        # The tile of keys and the place in it; in a loop over tiles, all coefficients are those of
        # whole tiles.
        position = group.constant % groups
        tile = Affine(group.constant // groups, tuple(c // groups for c in group.coefficients))
        keys = KEY_GROUP
        if group.known is not None:
            keys = min(keys, self.layout.keys - group.known * KEY_GROUP)
        return Step(
            head=block.head,
            rows=rows,
            number=self._number(block, group) + rows.number,
            query_slot=self._query_slot(block, rows),
            first_key=group * KEY_GROUP,
            keys=keys,
            key_slot=self._key_slot(block, tile),
            offset=position * KEY_GROUP,
            first=group.known == 0,
            last=last,
            hides=False,
        )

    def _number(self, block: _Block, group: Affine) -> Affine:
        """Of the first step of a group; one step follows another, as their weights take turns."""
        before = block.number * (self.groups * self.tiles.count)
        return before + group * self._count(block)

    def _query_slot(self, block: _Block, rows: Tile) -> Affine:
        return block.number * self.tiles.count + rows.number

    def _key_slot(self, block: _Block, tile: Affine) -> Affine:
        turn = block.head.shared if self.resident else block.number
        return turn * self.key_tiles + tile
