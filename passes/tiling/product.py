"""integer_linear, integer_conv1d and integer_matmul, with what follows them on chip."""

from __future__ import annotations

import math
from dataclasses import dataclass

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import ACCUMULATE, B_TRANSPOSED, OUTPUT_STATIONARY
from girih.passes.tiling.choice import choose
from girih.passes.tiling.cost import Product
from girih.passes.tiling.emitter import Affine, Buffer, Tile, View
from girih.passes.tiling.epilogue import Epilogue, ProductOp
from girih.passes.tiling.layer import LayerTiler, is_packed, rows_and_columns
from girih.passes.tiling.product_cost import (
    ProductTiles,
    product_candidates,
    smallest_product_bytes,
)
from girih.passes.tiling.search import Found


@dataclass(frozen=True)
class _Place:
    """One tile of the result, and which slots its operands are in.

    `within` and `below` say where it begins in the columns or rows that are held; `width` columns
    of weights are on chip.
    """

    row: Tile
    column: Tile
    order: Affine
    row_slot: Affine
    column_slot: Affine
    width: int
    within: Affine = Affine(0)
    below: Affine = Affine(0)


@dataclass
class _Buffers:
    """On-chip buffers of one product."""

    inputs: Buffer
    weights: Buffer
    sums: Buffer


class ProductTiler:
    """Emits ``[gelu] [add or multiply] rescale(x @ weight.T)`` tile by tile.

    The inner loop streams one operand past the other; loads of the next tile overlap the product
    of this one because every streamed buffer has two slots.
    """

    def __init__(
        self,
        tiler: LayerTiler,
        op: ProductOp,
        gelu: mfm.IntegerGeluOp | None = None,
        add: mfm.IntegerAddOp | mfm.IntegerMultiplyOp | None = None,
        tiles: ProductTiles | None = None,
    ) -> None:
        self.tiler, self.emitter = tiler, tiler.emitter
        self.op, self.epilogue = op, Epilogue(tiler, op, gelu, add)
        # Whether the right side is (columns, depth) in memory, else (depth, columns).
        self.transposed = True
        self.batches, self.rows = 1, rows_and_columns(op.result)[0]
        self.window: tuple[int, int, int] | None = None
        if isinstance(op, mfm.IntegerMatmulOp):
            self.x, self.weight, self.transposed = op.lhs, op.rhs, op.is_transposed
            self.rows, self.columns = shape(op.result)[-2:]
            self.batches, self.depth = math.prod(shape(op.lhs)[:-2]), shape(op.lhs)[-1]
        else:
            self.x, self.weight = op.x, op.weight
            self.columns, self.depth = shape(op.weight)
        if isinstance(op, mfm.IntegerConv1dOp):
            self.batches, self.rows = shape(op.result)[:2]
            self.window = (op.stride.value, op.kernel.value, shape(op.x)[2])
        self.what = self._describe()
        self.found: Found[ProductTiles] | None = None
        if tiles is None:
            self.found = found = choose(
                tiler,
                self.what,
                ProductTiles,
                lambda: product_candidates(self.what, tiler.target),
                lambda sketch, each: ProductTiler(sketch, op, gelu, add, each).emit(),
            )
            if found is None:
                tiler.too_small(*smallest_product_bytes(self.what))
            tiles = found.tiles
        self.tiles: ProductTiles = tiles

    def _describe(self) -> Product:
        return Product(
            rows=self.rows,
            columns=self.columns,
            depth=self.depth,
            output_bytes=self.epilogue.output_bytes,
            window=self.window,
            batches=self.batches if self.window is None else 1,
            activation=self.epilogue.gelu is not None,
            residual_bytes=self.epilogue.other_bytes,
            buffers=self.tiler.buffers,
            has_parameters=not isinstance(self.op, mfm.IntegerMatmulOp),
            is_packed=is_packed(self.weight),
        )

    def emit(self) -> None:
        """Emit the whole layer."""
        buffers = self._allocate()
        if self.window is None:
            self.emitter.tiles(self.batches, 1, lambda b: self._emit_batch(b.number, buffers))
        else:
            for batch in range(self.batches):
                self._emit_batch(Affine(batch), buffers)

    def _allocate(self) -> _Buffers:
        emitter, tiles, what = self.emitter, self.tiles, self.what
        input_slots, weight_slots = tiles.slots(what)
        rows = tiles.block if self._holds_inputs else tiles.rows
        columns = tiles.block if self._holds_weights else tiles.columns
        if self.window is None:
            depth = self.depth if self._holds_inputs else tiles.depth
            inputs = emitter.scratchpad("i8", rows, depth, input_slots)
        else:
            stride, kernel, channels = self.window
            inputs = emitter.scratchpad("i8", (rows - 1) * stride + kernel, channels, input_slots)
        depth = self.depth if self._holds_weights else tiles.depth
        buffers = _Buffers(
            inputs=inputs,
            weights=emitter.scratchpad("i8", columns, depth, weight_slots),
            sums=emitter.accumulator(tiles.rows, tiles.columns, tiles.output_slots(what)),
        )
        self.epilogue.allocate(
            (tiles.rows, tiles.columns),
            tiles.output_slots(what),
            self.rows,
            self.columns,
            loaded=(columns, min(1 + (columns < self.columns), what.buffers)),
        )
        self.epilogue.load_table()
        return buffers

    @property
    def _holds_inputs(self) -> bool:
        return self.tiles.is_held and self.tiles.outer == "inputs"

    @property
    def _holds_weights(self) -> bool:
        return self.tiles.is_held and self.tiles.outer == "weights"

    def _emit_batch(self, batch: Affine, buffers: _Buffers) -> None:
        if self.tiles.outer == "weights":
            self._emit_past_weights(batch, buffers)
        else:
            self._emit_past_inputs(batch, buffers)

    def _emit_past_weights(self, batch: Affine, buffers: _Buffers) -> None:
        tiles, emitter = self.tiles, self.emitter
        row_tiles = -(-self.rows // tiles.rows)
        blocks = -(-self.columns // tiles.block)
        across = -(-tiles.block // tiles.columns)

        def held(block: Tile) -> None:
            block_slot = block.number + batch * blocks
            if self._holds_weights:
                self._load_weights(block, self._whole, block_slot, batch, buffers)
            self.epilogue.load(block, block_slot)

            def past(row: Tile) -> None:
                row_slot = row.number + block_slot * row_tiles
                if not self._split or self.window is not None:
                    self._load_rows(row, row_slot, batch, buffers)

                def step(column: Tile) -> None:
                    place = _Place(
                        row=row,
                        column=Tile(block.start + column.start, column.size, column.number),
                        order=row_slot * across + column.number,
                        row_slot=row_slot,
                        column_slot=block_slot,
                        width=block.size,
                        within=column.start,
                    )
                    self._emit_tile(place, batch, buffers)

                emitter.tiles(block.size, tiles.columns, step)

            emitter.tiles(self.rows, tiles.rows, past, peel_first=self._has_border)

        emitter.tiles(self.columns, tiles.block, held)

    def _emit_past_inputs(self, batch: Affine, buffers: _Buffers) -> None:
        tiles, emitter = self.tiles, self.emitter
        column_tiles = -(-self.columns // tiles.columns)
        blocks = -(-self.rows // tiles.block)
        along = -(-tiles.block // tiles.rows)

        def held(block: Tile) -> None:
            block_slot = block.number + batch * blocks
            self._load_rows(block, block_slot, batch, buffers)

            def past(column: Tile) -> None:
                column_slot = column.number + block_slot * column_tiles
                if not self._split:
                    self._load_weights(column, self._whole, column_slot, batch, buffers)
                self.epilogue.load(column, column_slot)

                def step(row: Tile) -> None:
                    place = _Place(
                        row=Tile(block.start + row.start, row.size, row.number),
                        column=column,
                        order=column_slot * along + row.number,
                        row_slot=block_slot,
                        column_slot=column_slot,
                        width=column.size,
                        below=row.start,
                    )
                    self._emit_tile(place, batch, buffers)

                emitter.tiles(block.size, tiles.rows, step)

            emitter.tiles(self.columns, tiles.columns, past)

        emitter.tiles(self.rows, tiles.block, held, peel_first=self._has_border)

    @property
    def _has_border(self) -> bool:
        return self.window is not None and self.op.padding.value > 0

    @property
    def _whole(self) -> Tile:
        return Tile(Affine(0), self.depth, Affine(0))

    @property
    def _split(self) -> bool:
        return self.tiles.depth < self.depth

    def _load_weights(
        self, column: Tile, depth: Tile, slot: Affine, batch: Affine, buffers: _Buffers
    ) -> None:
        if not isinstance(self.op, mfm.IntegerMatmulOp):
            target = buffers.weights.at(pitch=depth.size, slot=slot)
            self.tiler.load_weights(self.weight, column, depth, target)
            return
        outer, inner, pitch = column, depth, self.depth
        if not self.transposed:
            outer, inner, pitch = depth, column, self.columns
        origin = outer.start * pitch + inner.start
        origin = origin + batch * (self.columns * self.depth)
        self.emitter.load(
            self.tiler.dram(self.weight).at(origin, pitch),
            buffers.weights.at(pitch=inner.size, slot=slot),
            outer.size,
            inner.size,
        )

    def _load_inputs(
        self, row: Tile, depth: Tile, slot: Affine, batch: Affine, buffers: _Buffers
    ) -> None:
        origin = (row.start + batch * self.rows) * self.depth + depth.start
        self.emitter.load(
            self.tiler.dram(self.x).at(origin, self.depth),
            buffers.inputs.at(pitch=depth.size, slot=slot),
            row.size,
            depth.size,
        )

    def _load_rows(self, row: Tile, slot: Affine, batch: Affine, buffers: _Buffers) -> None:
        if self.window is None or not isinstance(self.op, mfm.IntegerConv1dOp):
            whole = Tile(Affine(0), self.depth, Affine(0))
            self._load_inputs(row, whole, slot, batch, buffers)
            return
        source = self.tiler.dram(self.x)
        stride, kernel, channels = self.window
        length = shape(self.x)[1]
        first = row.start * stride + -self.op.padding.value
        count = (row.size - 1) * stride + kernel
        above = below = 0
        if first.known is not None:
            above = min(max(0, -first.known), count)
            below = min(max(0, first.known + count - length), count - above)
        for rows, at in ((above, 0), (below, count - below)):
            if rows:
                view = buffers.inputs.at(at * channels, channels, slot)
                self.emitter.emit(npu.FillOp, [view], rows, channels, immediates=(0,))
        if count > above + below:
            origin = (first + above) * channels + batch * length * channels
            self.emitter.load(
                source.at(origin, channels),
                buffers.inputs.at(above * channels, channels, slot),
                count - above - below,
                channels,
            )

    def _emit_tile(self, place: _Place, batch: Affine, buffers: _Buffers) -> None:
        tiles, row, column = self.tiles, place.row, place.column
        sums = buffers.sums.at(slot=place.order, pitch=4 * column.size)
        if not self._split:
            self._multiply(place, self._whole, Affine(0), Affine(0), sums, buffers)
        else:
            parts = -(-self.depth // tiles.depth)

            def part(depth: Tile) -> None:
                number = place.order * parts + depth.number
                if not self._holds_weights:
                    self._load_weights(column, depth, number, batch, buffers)
                if not self._holds_inputs and self.window is None:
                    self._load_inputs(row, depth, number, batch, buffers)
                self._multiply(place, depth, number, depth.start, sums, buffers)

            # The first part overwrites the sums and the others add to them: it stands apart.
            self.emitter.tiles(self.depth, tiles.depth, part, peel_first=True)
        self.epilogue.emit(
            sums, row, column, place.order, place.column_slot, batch, within=place.within
        )

    def _multiply(
        self,
        place: _Place,
        depth: Tile,
        number: Affine,
        start: Affine,
        sums: View,
        buffers: _Buffers,
    ) -> None:
        """One part of the depth: part `number` where operands stream by parts."""
        flags = B_TRANSPOSED if self.transposed else 0
        flags |= OUTPUT_STATIONARY if self.tiles.stationary == "output" else 0
        flags |= 0 if start.known == 0 else ACCUMULATE
        self.emitter.emit(
            npu.MatmulOp,
            [
                self._inputs(place, depth, number, start, buffers),
                self._weights(place, depth, number, start, buffers),
                sums,
            ],
            place.row.size,
            place.column.size,
            depth.size,
            flags,
        )

    def _inputs(
        self, place: _Place, depth: Tile, number: Affine, start: Affine, buffers: _Buffers
    ) -> View:
        if self.window is not None:
            stride, _, channels = self.window
            step = stride * channels
            return buffers.inputs.at(place.below * step + start, step, place.row_slot)
        if self._split and not self._holds_inputs:
            return buffers.inputs.at(0, depth.size, number)
        return buffers.inputs.at(place.below * self.depth + start, self.depth, place.row_slot)

    def _weights(
        self, place: _Place, depth: Tile, number: Affine, start: Affine, buffers: _Buffers
    ) -> View:
        if self._split and not self._holds_weights:
            pitch = depth.size if self.transposed else place.column.size
            return buffers.weights.at(0, pitch, number)
        if self.transposed:
            offset = place.within * self.depth + start
            return buffers.weights.at(offset, self.depth, place.column_slot)
        width = place.width
        return buffers.weights.at(place.within + start * width, width, place.column_slot)
