"""A norm, the product before it, those that read it and those after: rows stay on chip."""

from __future__ import annotations

from dataclasses import dataclass, replace

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import ACCUMULATE, B_TRANSPOSED
from girih.dialects.npu.vector import UNCENTERED
from girih.passes.tiling.chain import Chain, Linear, describe
from girih.passes.tiling.choice import choose
from girih.passes.tiling.emitter import Affine, Buffer, Tile, View
from girih.passes.tiling.epilogue import Epilogue
from girih.passes.tiling.layer import LayerTiler, rows_and_columns
from girih.passes.tiling.row_block_cost import RowBlock, RowBlockTiles, row_block_candidates
from girih.passes.tiling.search import Found

_ZERO = Affine(0)


@dataclass
class _Stage:
    """One product's buffers on chip."""

    linear: Linear
    epilogue: Epilogue
    weights: Buffer
    sums: Buffer
    columns: int
    width: int

    def reused(self, linear: Linear) -> _Stage:
        """The same buffers, for another product of the same size that has its turn later."""
        epilogue = self.epilogue.reused(linear.op, linear.gelu, linear.join)
        return replace(self, linear=linear, epilogue=epilogue)


class RowBlockTiler:
    """Emits a chain of layers, block of rows by block of rows.

    ```
    for block of rows:
        for rows: [load, matmul by all weights of `before`, store;] or load; norm
        for columns of the products: load weights
            for rows: matmul, epilogue, store or keep
        for columns of an `after`: for parts of the depth: load weights, matmul
            for rows: epilogue, store
    ```
    The phases of a block take each other's memory. Without a product before the norm, the first
    columns of the first product are multiplied as soon as their rows are normalized, the norm
    running one tile of rows ahead. Several `afters` take turns with the products that they read;
    what is normalized then stays on chip, and they are added to it in place.
    """

    def __init__(self, tiler: LayerTiler, chain: Chain, tiles: RowBlockTiles | None = None) -> None:
        self.tiler, self.emitter, self.chain = tiler, tiler.emitter, chain
        self.rows, self.depth = rows_and_columns(chain.norm.result)
        self.what = RowBlock(
            None if chain.before is None else describe(tiler, chain.before, self.rows),
            tuple(describe(tiler, each, self.rows) for each in chain.linears),
            tuple(describe(tiler, each, self.rows) for each in chain.afters),
            chain.is_kept,
        )
        self.tiles = tiles

    def find(self) -> Found[RowBlockTiles] | None:
        """The best tiles, which `emit` then uses; None where none fits."""
        found = choose(
            self.tiler,
            self.what,
            RowBlockTiles,
            lambda: row_block_candidates(self.what, self.tiler.target),
            lambda sketch, each: RowBlockTiler(sketch, self.chain, each).emit(),
        )
        self.tiles = None if found is None else found.tiles
        return found

    def emit(self) -> None:
        """Emit the whole region."""
        assert self.tiles is not None
        emitter, tiles, chain = self.emitter, self.tiles, self.chain
        norm = chain.norm
        planes = rows_and_columns(norm.parameters)[0]
        self.parameters = emitter.scratchpad("i32", planes, self.depth)
        place = self.tiler.dram(norm.parameters).at()
        emitter.load(place, self.parameters.at(), planes, 4 * self.depth)
        self.total: Buffer | None = None
        if self.what.is_resident:
            with emitter.living(0, 1):
                self.total = emitter.scratchpad("i16", tiles.block, self.depth)
        with emitter.living(0, 1):
            self.normalized = emitter.scratchpad("i8", tiles.block, self.depth)
        with emitter.living(0, 0):
            self.inputs = self.total or emitter.scratchpad("i16", tiles.rows, self.depth, 2)
            self.before = self._allocate_before()
        # Where a product comes before the norm, the array is busy enough in the first phase.
        self.overlaps = self.before is None
        start, end = 0 if self.overlaps else 1, 1 if self.what.is_resident else 2
        self.hidden: Buffer | None = None
        if chain.afters:
            with emitter.living(start, end):
                width = shape(chain.afters[0].op.weight)[1]
                self.hidden = emitter.scratchpad("i8", tiles.block, width)
        with emitter.living(start, 1):
            self.stages = self._allocate_products()
        with emitter.living(end, end):
            self.afters = self._allocate_afters()
        # Blocks are few, and each phase's first iteration wants waits of its own: no loop.
        emitter.tiles(self.rows, tiles.block, self._emit_block, unrolled=True)

    def _allocate_before(self) -> tuple[_Stage, Buffer | None] | None:
        if self.chain.before is None:
            return None
        assert self.tiles is not None
        columns, depth = shape(self.chain.before.op.weight)
        stage = self._stage(
            self.chain.before,
            width=min(self.tiles.columns, columns),
            weights=self.emitter.scratchpad("i8", columns, depth),
            loaded=(columns, 1),
            is_kept=True,
        )
        # Rows of the same length come to where they are normalized, and make place for that.
        in_place = depth == self.depth
        rows = None if in_place else self.emitter.scratchpad("i8", self.tiles.rows, depth, 2)
        return stage, rows

    def _allocate_products(self) -> list[_Stage]:
        assert self.tiles is not None
        stages = list[_Stage]()
        for linear in self.chain.linears:
            if self.what.is_resident and stages:
                stages.append(stages[0].reused(linear))
                continue
            columns, depth = shape(linear.op.weight)
            width = min(self.tiles.columns, columns)
            weights = self.emitter.scratchpad("i8", width, depth, 2)
            is_kept = self.hidden is not None
            stages.append(self._stage(linear, width, weights, (width, 2), is_kept))
        return stages

    def _allocate_afters(self) -> list[_Stage]:
        assert self.tiles is not None
        stages = list[_Stage]()
        for linear in self.chain.afters:
            if stages:
                stages.append(stages[0].reused(linear))
                continue
            width = self.tiles.after_columns
            weights = self.emitter.scratchpad("i8", width, self.tiles.after_depth, 2)
            is_kept, height = self.what.is_resident, self.tiles.block
            stages.append(self._stage(linear, width, weights, (width, 2), is_kept, height))
        return stages

    def _stage(
        self,
        linear: Linear,
        width: int,
        weights: Buffer,
        loaded: tuple[int, int],
        is_kept: bool,
        height: int | None = None,
    ) -> _Stage:
        assert self.tiles is not None
        columns = shape(linear.op.weight)[0]
        epilogue = Epilogue(self.tiler, linear.op, linear.gelu, linear.join)
        outputs = 0 if is_kept else 2
        is_joined_on_chip = self.what.is_resident and linear in self.chain.afters
        epilogue.allocate(
            (self.tiles.rows, width), outputs, self.rows, columns, loaded, not is_joined_on_chip
        )
        sums = self.emitter.accumulator(height or self.tiles.rows, width)
        return _Stage(linear, epilogue, weights, sums, columns, width)

    def _emit_block(self, block: Tile) -> None:
        assert self.tiles is not None
        if self.before is not None:
            stage, _ = self.before
            depth = shape(stage.linear.op.weight)[1]
            columns, whole = (Tile(_ZERO, size, _ZERO) for size in (stage.columns, depth))
            self.tiler.load_weights(stage.linear.op.weight, columns, whole, stage.weights.at())
            stage.epilogue.load_table()
            stage.epilogue.load(columns, _ZERO)
        start = 0
        if self.overlaps:
            first = self.stages[0]
            first.epilogue.load_table()
            column = Tile(_ZERO, first.width, _ZERO)
            self._load_weights(first, column, _ZERO)
            self._emit_first_columns(block, first, column)
            start = first.width
        else:
            size = min(self.tiles.rows, block.size)
            self.emitter.tiles(block.size, size, lambda row: self._prepare(block, row))
        for number, stage in enumerate(self.stages):
            if number or not self.overlaps:
                stage.epilogue.load_table()
            self._emit_columns(block, stage, 0 if number else start)
            if self.afters:
                self._emit_after(block, self.afters[number], number == len(self.afters) - 1)

    def _emit_first_columns(self, block: Tile, stage: _Stage, column: Tile) -> None:
        """Each tile of rows is prepared before the one ahead of it is multiplied.

        The vector engine takes instructions in order: behind what follows the products, a norm
        would begin when they are done, and the array would wait for it.
        """
        assert self.tiles is not None
        size = min(self.tiles.rows, block.size)
        full, rest = divmod(block.size, size)
        self._prepare(block, Tile(_ZERO, size, _ZERO))

        def step(row: Tile) -> None:
            self._prepare(block, Tile(row.start + size, size, row.number + 1))
            self._multiply(block, stage, row, column, row.number)

        self.emitter.tiles((full - 1) * size, size, step)
        last = Tile(Affine((full - 1) * size), size, Affine(full - 1))
        if rest:
            end = Tile(Affine(full * size), rest, Affine(full))
            self._prepare(block, end)
            self._multiply(block, stage, last, column, last.number)
            last = end
        self._multiply(block, stage, last, column, last.number)

    def _prepare(self, block: Tile, row: Tile) -> None:
        """Bring a tile of rows to the norm, and normalize it."""
        emitter, norm = self.emitter, self.chain.norm
        start = block.start + row.start
        inputs = self._inputs(row)
        place = self.tiler.dram(norm.x).at(start * (2 * self.depth), 2 * self.depth)
        if self.before is None:
            emitter.load(place, inputs, row.size, 2 * self.depth)
        else:
            self._emit_before(block, row)
            if self.total is None:
                emitter.store(inputs, place, row.size, 2 * self.depth)
        target = self.normalized.at(row.start * self.depth)
        emitter.emit(
            npu.LayerNormOp,
            [inputs, target, self.parameters.at()],
            row.size,
            self.depth,
            flags=UNCENTERED if isinstance(norm, mfm.IntegerRmsNormOp) else 0,
            immediates=(norm.epsilon.value, norm.shift.value),
        )
        if self.chain.is_kept:
            result = self.tiler.dram(norm.result).at(start * self.depth, self.depth)
            emitter.store(target, result, row.size, self.depth)

    def _inputs(self, row: Tile, start: Affine = _ZERO) -> View:
        """Where a tile of rows is normalized from, beginning with a column."""
        if self.total is None:
            return self.inputs.at(start * 2, slot=row.number)
        return self.total.at(row.start * (2 * self.depth) + start * 2)

    def _emit_before(self, block: Tile, row: Tile) -> None:
        """The tile's rows of the product before the norm, into the norm's input."""
        assert self.before is not None
        emitter, (stage, rows) = self.emitter, self.before
        depth = shape(stage.linear.op.weight)[1]
        source = self.tiler.dram(stage.linear.op.x).at((block.start + row.start) * depth, depth)
        view = rows.at(slot=row.number) if rows else self.normalized.at(row.start * depth)
        emitter.load(source, view, row.size, depth)
        across = -(-stage.columns // stage.width)

        def step(column: Tile) -> None:
            order = row.number * across + column.number
            weights = stage.weights.at(column.start * depth, depth)
            sums = stage.sums.at(slot=order, pitch=4 * column.size)
            emitter.emit(
                npu.MatmulOp, [view, weights, sums], row.size, column.size, depth, B_TRANSPOSED
            )
            stage.epilogue.emit(
                sums,
                Tile(block.start + row.start, row.size, row.number),
                column,
                order,
                _ZERO,
                _ZERO,
                within=column.start,
                into=self._inputs(row, column.start),
                stores=False,
            )

        emitter.tiles(stage.columns, stage.width, step)

    def _load_weights(self, stage: _Stage, column: Tile, slot: Affine) -> None:
        whole, target = Tile(_ZERO, self.depth, _ZERO), stage.weights.at(slot=slot)
        self.tiler.load_weights(stage.linear.op.weight, column, whole, target)
        stage.epilogue.load(column, slot)

    def _emit_columns(self, block: Tile, stage: _Stage, start: int) -> None:
        """The product's columns from `start` on, past all rows of the block."""
        assert self.tiles is not None
        height = self.tiles.rows
        along = -(-block.size // height)

        def columns(rest: Tile) -> None:
            number = rest.number + start // stage.width
            column = Tile(rest.start + start, rest.size, number)
            self._load_weights(stage, column, number)

            def rows(row: Tile) -> None:
                self._multiply(block, stage, row, column, number * along + row.number)

            self.emitter.tiles(block.size, min(height, block.size), rows)

        self.emitter.tiles(stage.columns - start, stage.width, columns)

    def _multiply(self, block: Tile, stage: _Stage, row: Tile, column: Tile, order: Affine) -> None:
        sums = stage.sums.at(slot=order, pitch=4 * column.size)
        self.emitter.emit(
            npu.MatmulOp,
            [
                self.normalized.at(row.start * self.depth),
                stage.weights.at(slot=column.number),
                sums,
            ],
            row.size,
            column.size,
            self.depth,
            B_TRANSPOSED,
        )
        into: View | None = None
        if self.hidden is not None:
            width = stage.columns
            into = self.hidden.at(row.start * width + column.start, width)
        stage.epilogue.emit(
            sums,
            Tile(block.start + row.start, row.size, row.number),
            column,
            order,
            column.number,
            _ZERO,
            into=into,
            stores=into is None,
        )

    def _emit_after(self, block: Tile, stage: _Stage, is_last: bool) -> None:
        assert self.tiles is not None
        assert self.hidden is not None
        emitter, hidden = self.emitter, self.hidden
        depth, size = shape(stage.linear.op.weight)[1], self.tiles.after_depth
        height = self.tiles.rows
        parts = -(-depth // size)
        along = -(-block.size // height)

        def columns(column: Tile) -> None:
            stage.epilogue.load(column, column.number)
            whole = stage.sums.at(slot=column.number, pitch=4 * column.size)

            def part(piece: Tile) -> None:
                slot = column.number * parts + piece.number
                weights = stage.weights.at(0, piece.size, slot)
                self.tiler.load_weights(stage.linear.op.weight, column, piece, weights)
                emitter.emit(
                    npu.MatmulOp,
                    [hidden.at(piece.start, depth), weights, whole],
                    block.size,
                    column.size,
                    piece.size,
                    B_TRANSPOSED | (0 if piece.start.known == 0 else ACCUMULATE),
                )

            emitter.tiles(depth, size, part, peel_first=True)

            def rows(row: Tile) -> None:
                order = column.number * along + row.number
                sums = stage.sums.at(row.start * (4 * column.size), 4 * column.size, column.number)
                where = Tile(block.start + row.start, row.size, row.number)
                total = None if self.total is None else self._inputs(row, column.start)
                stage.epilogue.emit(
                    sums,
                    where,
                    column,
                    order,
                    column.number,
                    _ZERO,
                    into=total,
                    other=total,
                    stores=is_last,
                )

            emitter.tiles(block.size, min(height, block.size), rows)

        emitter.tiles(stage.columns, stage.width, columns)
