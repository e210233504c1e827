"""integer_linear, integer_conv1d and integer_matmul, with what follows them on chip."""

from __future__ import annotations

import math
from dataclasses import dataclass

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import ACCUMULATE, B_TRANSPOSED, OUTPUT_STATIONARY
from girih.passes.tiling.cost import Product, ProductTiles, choose_product, smallest_product_bytes
from girih.passes.tiling.emitter import Affine, Buffer, Tile
from girih.passes.tiling.epilogue import Epilogue, ProductOp
from girih.passes.tiling.layer import LayerTiler, rows_and_columns


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
        tiles = choose_product(self.what, tiler.target)
        if tiles is None:
            tiler.too_small(*smallest_product_bytes(self.what))
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
        outputs = tiles.output_slots(what)
        if self.window is None:
            inputs = emitter.scratchpad("i8", tiles.rows, tiles.depth, input_slots)
        else:
            stride, kernel, channels = self.window
            inputs = emitter.scratchpad(
                "i8", (tiles.rows - 1) * stride + kernel, channels, input_slots
            )
        buffers = _Buffers(
            inputs=inputs,
            weights=emitter.scratchpad("i8", tiles.columns, tiles.depth, weight_slots),
            sums=emitter.accumulator(tiles.rows, tiles.columns, outputs),
        )
        self.epilogue.allocate(tiles, outputs, self.rows, self.columns)
        return buffers

    def _emit_batch(self, batch: Affine, buffers: _Buffers) -> None:
        tiles, emitter = self.tiles, self.emitter
        row_tiles = -(-self.rows // tiles.rows)
        column_tiles = -(-self.columns // tiles.columns)
        peel = self.window is not None and self.op.padding.value > 0

        def inner_rows(column: Tile) -> None:
            self._load_columns(column, column.number + batch * column_tiles, batch, buffers)

            def body(row: Tile) -> None:
                order = column.number * row_tiles + row.number + batch * row_tiles * column_tiles
                if not self._split or self.window is not None:
                    self._load_rows(row, order, batch, buffers)
                column_slot = column.number + batch * column_tiles
                self._emit_tile(row, column, order, order, column_slot, batch, buffers)

            emitter.tiles(self.rows, tiles.rows, body, peel_first=peel)

        def inner_columns(row: Tile) -> None:
            row_slot = row.number + batch * row_tiles
            self._load_rows(row, row_slot, batch, buffers)

            def body(column: Tile) -> None:
                order = row.number * column_tiles + column.number
                order = order + batch * row_tiles * column_tiles
                self._load_columns(column, order, batch, buffers)
                self._emit_tile(row, column, order, row_slot, order, batch, buffers)

            emitter.tiles(self.columns, tiles.columns, body)

        if tiles.outer == "weights":
            emitter.tiles(self.columns, tiles.columns, inner_rows)
        else:
            emitter.tiles(self.rows, tiles.rows, inner_columns, peel_first=peel)

    @property
    def _split(self) -> bool:
        return self.tiles.depth < self.depth

    def _load_columns(self, column: Tile, slot: Affine, batch: Affine, buffers: _Buffers) -> None:
        if not self._split:
            whole = Tile(Affine(0), self.depth, Affine(0))
            self._load_weights(column, whole, slot, batch, buffers)
        self.epilogue.load(column, slot)

    def _load_weights(
        self, column: Tile, depth: Tile, slot: Affine, batch: Affine, buffers: _Buffers
    ) -> None:
        outer, inner, pitch = column, depth, self.depth
        if not self.transposed:
            outer, inner, pitch = depth, column, self.columns
        origin = outer.start * pitch + inner.start
        if isinstance(self.op, mfm.IntegerMatmulOp):
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

    def _emit_tile(
        self,
        row: Tile,
        column: Tile,
        order: Affine,
        row_slot: Affine,
        column_slot: Affine,
        batch: Affine,
        buffers: _Buffers,
    ) -> None:
        emitter, tiles = self.emitter, self.tiles
        flags = B_TRANSPOSED if self.transposed else 0
        flags |= OUTPUT_STATIONARY if tiles.stationary == "output" else 0
        sums = buffers.sums.at(slot=order, pitch=4 * column.size)

        def multiply(depth: Tile, weight_slot: Affine, input_slot: Affine, more: int) -> None:
            if self.window is None:
                pitch, offset = depth.size, Affine()
            else:
                pitch, offset = self.window[0] * self.window[2], depth.start
            emitter.emit(
                npu.MatmulOp,
                [
                    buffers.inputs.at(offset, pitch, input_slot),
                    buffers.weights.at(
                        0, depth.size if self.transposed else column.size, weight_slot
                    ),
                    sums,
                ],
                row.size,
                column.size,
                depth.size,
                flags | more,
            )

        if not self._split:
            whole = Tile(Affine(0), self.depth, Affine(0))
            multiply(whole, column_slot, row_slot, 0)
        else:
            parts = -(-self.depth // tiles.depth)

            def part(depth: Tile) -> None:
                number = order * parts + depth.number
                self._load_weights(column, depth, number, batch, buffers)
                input_slot = row_slot
                if self.window is None:
                    input_slot = number
                    self._load_inputs(row, depth, number, batch, buffers)
                first = depth.start.known == 0
                multiply(depth, number, input_slot, 0 if first else ACCUMULATE)

            # The first part overwrites the sums and the others add to them: it stands apart.
            emitter.tiles(self.depth, tiles.depth, part, peel_first=True)
        self.epilogue.emit(sums, row, column, order, column_slot, batch)
