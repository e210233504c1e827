"""A norm and the products that read it, row tile by row tile: what is normalized stays on chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import B_TRANSPOSED
from girih.dialects.npu.vector import UNCENTERED
from girih.passes.tiling.cost import Product, ProductTiles
from girih.passes.tiling.emitter import Affine, Buffer, Tile
from girih.passes.tiling.epilogue import Epilogue
from girih.passes.tiling.layer import LayerTiler, rows_and_columns
from girih.passes.tiling.normed_cost import NormedProducts, NormedTiles, Part, choose_normed

RowStep = Callable[[Tile], None]
NormOp = mfm.IntegerLayerNormOp | mfm.IntegerRmsNormOp


@dataclass(frozen=True)
class NormedLinear:
    """A linear operation on a norm's result, with what follows it on chip."""

    op: mfm.IntegerLinearOp
    gelu: mfm.IntegerGeluOp | None
    join: mfm.IntegerAddOp | mfm.IntegerMultiplyOp | None


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
    is empty where the layers are better apart.
    """

    def __init__(
        self, tiler: LayerTiler, norm: NormOp, linears: list[NormedLinear], is_kept: bool
    ) -> None:
        self.tiler, self.emitter = tiler, tiler.emitter
        self.norm, self.linears, self.is_kept = norm, linears, is_kept
        self.rows, self.depth = rows_and_columns(norm.result)
        self.what = NormedProducts(tuple(self._describe(each) for each in linears), is_kept)
        self.tiles: NormedTiles | None = choose_normed(self.what, tiler.target)
        self.passes = [] if self.tiles is None else self.tiles.passes(self.what)

    def _describe(self, linear: NormedLinear) -> Product:
        epilogue = Epilogue(self.tiler, linear.op, linear.gelu, linear.join)
        return Product(
            rows=self.rows,
            columns=shape(linear.op.weight)[0],
            depth=self.depth,
            output_bytes=epilogue.output_bytes,
            activation=linear.gelu is not None,
            residual_bytes=epilogue.other_bytes,
        )

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
        sizes = ProductTiles(tiles.rows, width, self.depth, "weights", "weight")
        total = shape(linear.op.weight)[0]
        epilogue.allocate(sizes, 2, self.rows, total, held=(part.first, part.count))
        place = self.tiler.dram(linear.op.weight).at(part.first * self.depth)
        self.emitter.load(place, weights.at(), part.count, self.depth)
        epilogue.load(Tile(Affine(part.first), part.count, Affine(0)), Affine(0))
        return _Held(part, epilogue, weights, width, before)

    def _normalize(self, row: Tile, shared: _Shared, parameters: Buffer, store: bool) -> None:
        emitter, norm = self.emitter, self.norm
        place = self.tiler.dram(norm.x).at(row.start * (2 * self.depth))
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
            result = self.tiler.dram(norm.result).at(row.start * self.depth)
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
            held.epilogue.emit(sums, row, whole, turn, Affine(0), Affine(0))

        self.emitter.tiles(held.part.count, held.width, column_tile)
