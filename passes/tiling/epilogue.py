"""What happens to a product's sums on chip: rescale, gelu, addition or multiplication, store."""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import element
from girih.dialects.npu.vector import SCALAR
from girih.passes.tiling.cost import ProductTiles
from girih.passes.tiling.emitter import Affine, Buffer, Tile, View
from girih.passes.tiling.layer import LayerTiler
from girih.passes.tiling.rows import join

_BYTES = {"i8": 1, "i16": 2, "i32": 4}

ProductOp = mfm.IntegerLinearOp | mfm.IntegerConv1dOp | mfm.IntegerMatmulOp


@dataclass
class _Buffers:
    """On-chip buffers between the sums and the result; None where the step is absent."""

    outputs: Buffer
    parameters: Buffer | None
    rescaled: Buffer | None = None
    activated: Buffer | None = None
    activation_parameters: Buffer | None = None
    table: Buffer | None = None
    residual: Buffer | None = None


class Epilogue:
    """The steps that follow a product of rows x columns, tile by tile."""

    def __init__(
        self,
        tiler: LayerTiler,
        op: ProductOp,
        gelu: mfm.IntegerGeluOp | None,
        join_op: mfm.IntegerAddOp | mfm.IntegerMultiplyOp | None,
    ) -> None:
        self.tiler, self.emitter = tiler, tiler.emitter
        self.op, self.gelu, self.join = op, gelu, join_op
        self.result: ir.Value = (join_op or gelu or op).result
        self.output_bytes = _BYTES[element(self.result)]
        self.other: ir.Value | None = None
        if join_op is not None:
            inner = (gelu or op).result
            self.other = join_op.rhs if tiler.same(join_op.lhs, inner) else join_op.lhs
        self.other_bytes = _BYTES[element(self.other)] if self.other is not None else 0

    def allocate(
        self,
        tiles: ProductTiles,
        outputs: int,
        rows: int,
        columns: int,
        held: tuple[int, int] | None = None,
    ) -> None:
        """Make the buffers, and load what all tiles read; `outputs` slots for results.

        Parameters are loaded for a tile's columns, or for all that are `held`: (first, count).
        """
        emitter, several = self.emitter, 1 + (tiles.columns < columns and held is None)
        self.rows, self.columns, self.held = rows, columns, held
        wide = tiles.columns if held is None else held[1]
        scalar = isinstance(self.op, mfm.IntegerMatmulOp)
        buffers = _Buffers(
            parameters=None if scalar else emitter.scratchpad("i32", 3, wide, several),
            outputs=emitter.scratchpad(element(self.result), tiles.rows, tiles.columns, outputs),
        )
        if self.gelu is not None:
            buffers.rescaled = emitter.scratchpad("i16", tiles.rows, tiles.columns)
            buffers.activation_parameters = emitter.scratchpad("i32", 2, wide, several)
            buffers.table = emitter.scratchpad("i32", 1, 1024)
            table = self.tiler.dram(self.gelu.table)
            emitter.load(table.at(pitch=4096), buffers.table.at(), 1, 4096)
        if self.other is not None:
            inner = element((self.gelu or self.op).result)
            buffers.activated = emitter.scratchpad(inner, tiles.rows, tiles.columns)
            buffers.residual = emitter.scratchpad(
                element(self.other), tiles.rows, tiles.columns, outputs
            )
        self.buffers = buffers

    def load(self, column: Tile, slot: Affine) -> None:
        """Load the parameters of a tile's columns."""
        if self.buffers.parameters is not None:
            self._load_planar(self.op.parameters, self.buffers.parameters, 3, column, slot)
        if self.gelu is not None and self.buffers.activation_parameters is not None:
            buffer = self.buffers.activation_parameters
            self._load_planar(self.gelu.parameters, buffer, 2, column, slot)

    def _load_planar(
        self, value: ir.Value, target: Buffer, planes: int, column: Tile, slot: Affine
    ) -> None:
        self.emitter.load(
            self.tiler.dram(value).at(column.start * 4, 4 * self.columns),
            target.at(slot=slot),
            planes,
            4 * column.size,
        )

    def emit(
        self,
        sums: View,
        row: Tile,
        column: Tile,
        order: Affine,
        column_slot: Affine,
        batch: Affine,
    ) -> None:
        """All steps of one tile: `order` counts tiles, `column_slot` loads of parameters."""
        emitter, buffers = self.emitter, self.buffers
        size = self.output_bytes
        output = buffers.outputs.at(slot=order, pitch=column.size * size)
        where = (row.start + batch * self.rows) * self.columns + column.start
        target = output
        if buffers.rescaled is not None:
            target = buffers.rescaled.at(pitch=2 * column.size)
        elif buffers.activated is not None:
            target = buffers.activated.at(pitch=column.size * _BYTES[element(self.op.result)])
        self._rescale(sums, target, row, column, column_slot)
        current = target
        if self.gelu is not None and buffers.activation_parameters and buffers.table:
            target = output
            if buffers.activated is not None:
                target = buffers.activated.at(pitch=column.size * _BYTES[element(self.gelu.result)])
            emitter.emit(
                npu.GeluOp,
                [
                    current,
                    target,
                    self._of(buffers.activation_parameters, column, column_slot),
                    buffers.table.at(),
                ],
                row.size,
                column.size,
                immediates=(self.gelu.index_multiplier.value, self.gelu.index_shift.value),
            )
            current = target
        if self.join is not None and buffers.residual is not None and self.other is not None:
            width = self.other_bytes
            other = buffers.residual.at(slot=order, pitch=column.size * width)
            emitter.load(
                self.tiler.dram(self.other).at(where * width, self.columns * width),
                other,
                row.size,
                column.size * width,
            )
            first = self.tiler.same(self.join.rhs, self.other)
            kind, immediates = join(self.join)
            views = [current, other, output] if first else [other, current, output]
            emitter.emit(kind, views, row.size, column.size, immediates=immediates)
        place = self.tiler.dram(self.result).at(where * size, self.columns * size)
        emitter.store(output, place, row.size, column.size * size)

    def _of(self, parameters: Buffer, column: Tile, slot: Affine) -> View:
        """A tile's part of the parameters that are on chip."""
        if self.held is None:
            return parameters.at(slot=slot)
        return parameters.at((column.start + -self.held[0]) * 4, 4 * self.held[1])

    def _rescale(
        self, sums: View, target: View, row: Tile, column: Tile, column_slot: Affine
    ) -> None:
        views, flags, immediates = [sums, target, None], SCALAR, ()
        if self.buffers.parameters is not None:
            parameters = self._of(self.buffers.parameters, column, column_slot)
            views, flags = [sums, target, parameters], 0
        elif isinstance(self.op, mfm.IntegerMatmulOp):
            immediates = (0, self.op.multiplier.value, self.op.shift.value)
        self.emitter.emit(
            npu.RescaleOp, views, row.size, column.size, flags=flags, immediates=immediates
        )
