"""A norm and the products that read it, row tile by row tile: what is normalized stays on chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import B_TRANSPOSED
from girih.dialects.npu.vector import UNCENTERED
from girih.passes.tiling.chain import Chain, describe
from girih.passes.tiling.choice import choose
from girih.passes.tiling.emitter import Affine, Buffer, Tile
from girih.passes.tiling.epilogue import Epilogue
from girih.passes.tiling.layer import LayerTiler, rows_and_columns
from girih.passes.tiling.normed_cost import (
    NormedProducts,
    NormedTiles,
    Part,
    normed_candidates,
)
from girih.passes.tiling.search import Found

RowStep = Callable[[Tile], None]


@dataclass
class _Held:
    """Columns of one linear operation whose weights are on chip during a pass."""

    part: Part
    epilogue: Epilogue
    weights: Buffer
    width: int
    before: int
    """Tiles of columns of the parts before it."""

    @property
    def tiles(self) -> int:
        """Tiles of its columns."""
        return -(-self.part.count // self.width)


@dataclass
class _Shared:
    """On-chip buffers that all parts of a pass use."""

    inputs: Buffer
    normalized: Buffer
    sums: Buffer


class NormedProductTiler:
    """Emits ``linear(norm(x))`` for several linears, where that is better than each by itself.

    ```
    for held columns of all weights: load them
        for rows: load x, norm
            for columns: matmul, epilogue, store
    ```
    Each pass over the rows is a layer of its own, so that memory is free again after it. `passes`
    is empty before tiles are found.
    """

    def __init__(self, tiler: LayerTiler, chain: Chain, tiles: NormedTiles | None = None) -> None:
        self.tiler, self.emitter, self.chain = tiler, tiler.emitter, chain
        self.norm, self.linears, self.is_kept = chain.norm, chain.linears, chain.is_kept
        self.rows, self.depth = rows_and_columns(chain.norm.result)
        products = tuple(describe(tiler, each, self.rows) for each in chain.linears)
        self.what = NormedProducts(products, chain.is_kept)
        self.tiles = tiles

    def find(self) -> Found[NormedTiles] | None:
        """The best tiles, which are then used; None where none fits."""
        found = choose(
            self.tiler,
            self.what,
            NormedTiles,
            lambda: normed_candidates(self.what, self.tiler.target),
            lambda sketch, each: NormedProductTiler(sketch, self.chain, each).emit(),
        )
        self.tiles = None if found is None else found.tiles
        return found

    @property
    def passes(self) -> list[list[Part]]:
        """What is held while all rows pass, pass by pass."""
        return [] if self.tiles is None else self.tiles.passes(self.what)

    def emit(self) -> None:
        """Emit all passes, each as the layer after the one before."""
        for number in range(len(self.passes)):
            self.emit_pass(number)
            self.emitter.layer += 1

    def emit_pass(self, number: int) -> None:
        """Emit one pass over all rows."""
        tiles, emitter = self.tiles, self.emitter
        assert tiles is not None
        shared = _Shared(
            inputs=emitter.scratchpad("i16", tiles.rows, self.depth),
            normalized=emitter.scratchpad("i8", tiles.rows, self.depth, 2),
            sums=emitter.accumulator(tiles.rows, tiles.columns),
        )
        planes = rows_and_columns(self.norm.parameters)[0]
        parameters = emitter.scratchpad("i32", planes, self.depth)
        place = self.tiler.dram(self.norm.parameters).at()
        emitter.load(place, parameters.at(), planes, 4 * self.depth)
        held: list[_Held] = []
        for part in self.passes[number]:
            held.append(self._load(part, sum(each.tiles for each in held), tiles))
        across = sum(each.tiles for each in held)

        def normalize(row: Tile) -> None:
            self._normalize(row, shared, parameters, store=self.is_kept and number == 0)

        def multiply(row: Tile) -> None:
            for part in held:
                self._multiply(part, row, across, shared)

        self._emit_rows(tiles.rows, normalize, multiply)

    def _emit_rows(self, size: int, normalize: RowStep, multiply: RowStep) -> None:
        """Each tile of rows is normalized before the one ahead of it is multiplied.

        The vector engine takes instructions in order: behind what follows the products, a norm
        would begin when they are done, and the array would wait for it.
        """
        full, rest = divmod(self.rows, size)
        last = Tile(Affine((full - 1) * size), size, Affine(full - 1))
        normalize(Tile(Affine(0), size, Affine(0)))

        def step(row: Tile) -> None:
            normalize(Tile(row.start + size, size, row.number + 1))
            multiply(row)

        self.emitter.tiles((full - 1) * size, size, step)
        if rest:
            end = Tile(Affine(full * size), rest, Affine(full))
            normalize(end)
            multiply(last)
            multiply(end)
        else:
            multiply(last)

    def _load(self, part: Part, before: int, tiles: NormedTiles) -> _Held:
        linear, width = self.linears[part.product], min(tiles.columns, part.count)
        epilogue = Epilogue(self.tiler, linear.op, linear.gelu, linear.join)
        weights = self.emitter.scratchpad("i8", part.count, self.depth)
        total = shape(linear.op.weight)[0]
        epilogue.allocate((tiles.rows, width), 2, self.rows, total, loaded=(part.count, 1))
        epilogue.load_table()
        held, whole = (
            Tile(Affine(start), size, Affine(0))
            for start, size in ((part.first, part.count), (0, self.depth))
        )
        self.tiler.load_weights(linear.op.weight, held, whole, weights.at())
        epilogue.load(held, Affine(0))
        return _Held(part, epilogue, weights, width, before)

    def _normalize(self, row: Tile, shared: _Shared, parameters: Buffer, store: bool) -> None:
        emitter, norm = self.emitter, self.norm
        place = self.tiler.dram(norm.x).at(row.start * (2 * self.depth), 2 * self.depth)
        emitter.load(place, shared.inputs.at(), row.size, 2 * self.depth)
        target = shared.normalized.at(slot=row.number)
        emitter.emit(
            npu.LayerNormOp,
            [shared.inputs.at(), target, parameters.at()],
            row.size,
            self.depth,
            flags=UNCENTERED if isinstance(norm, mfm.IntegerRmsNormOp) else 0,
            immediates=(norm.epsilon.value, norm.shift.value),
        )
        if store:
            result = self.tiler.dram(norm.result).at(row.start * self.depth, self.depth)
            emitter.store(target, result, row.size, self.depth)

    def _multiply(self, held: _Held, row: Tile, across: int, shared: _Shared) -> None:
        def column_tile(column: Tile) -> None:
            sums = shared.sums.at(
                slot=row.number * across + column.number + held.before, pitch=4 * column.size
            )
            self.emitter.emit(
                npu.MatmulOp,
                [
                    shared.normalized.at(slot=row.number),
                    held.weights.at(column.start * self.depth, self.depth),
                    sums,
                ],
                row.size,
                column.size,
                self.depth,
                B_TRANSPOSED,
            )
            whole = Tile(column.start + held.part.first, column.size, column.number)
            turn = row.number * held.tiles + column.number
            held.epilogue.emit(sums, row, whole, turn, Affine(0), Affine(0), within=column.start)

        self.emitter.tiles(held.part.count, held.width, column_tile)
