"""What happens to a product's sums on chip: rescale, gelu, addition or multiplication, store."""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import element
from girih.dialects.npu.vector import SCALAR
from girih.passes.tiling.emitter import Affine, Buffer, Tile, View
from girih.passes.tiling.layer import LayerTiler
from girih.passes.tiling.rows import gelu_immediates, join

_BYTES = {"i8": 1, "i16": 2, "i32": 4}

JoinOp = mfm.IntegerAddOp | mfm.IntegerMultiplyOp
ProductOp = mfm.IntegerLinearOp | mfm.IntegerConv1dOp | mfm.IntegerMatmulOp


@dataclass
class _Buffers:
    """On-chip buffers between the sums and the result; None where the step is absent."""

    outputs: Buffer | None
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
        join_op: JoinOp | None,
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
        tile: tuple[int, int],
        outputs: int,
        rows: int,
        columns: int,
        loaded: tuple[int, int],
        loads_other: bool = True,
    ) -> None:
        """Make the buffers for tiles of (rows, columns).

        `outputs` slots for results, none where they go elsewhere; parameters come for `loaded`
        columns at a time, in so many slots. The other side of an addition needs a buffer unless it
        is on chip already.
        """
        emitter = self.emitter
        self.rows, self.columns = rows, columns
        height, width = tile
        wide, several = loaded
        scalar = isinstance(self.op, mfm.IntegerMatmulOp)
        buffers = _Buffers(
            parameters=None if scalar else emitter.scratchpad("i32", 3, wide, several),
            outputs=None
            if outputs == 0
            else emitter.scratchpad(element(self.result), height, width, outputs),
        )
        if self.gelu is not None:
            buffers.rescaled = emitter.scratchpad("i16", height, width)
            buffers.activation_parameters = emitter.scratchpad("i32", 2, wide, several)
            buffers.table = emitter.scratchpad("i32", 1, 1024)
        if self.other is not None:
            inner = element((self.gelu or self.op).result)
            buffers.activated = emitter.scratchpad(inner, height, width)
            if loads_other:
                slots = outputs or 2
                buffers.residual = emitter.scratchpad(element(self.other), height, width, slots)
        self.buffers = buffers

    def reused(
        self, op: ProductOp, gelu: mfm.IntegerGeluOp | None, join_op: JoinOp | None
    ) -> Epilogue:
        """The steps that follow another product of the same size, in the same buffers."""
        other = Epilogue(self.tiler, op, gelu, join_op)
        other.rows, other.columns, other.buffers = self.rows, self.columns, self.buffers
        return other

    def load_table(self) -> None:
        """Load what all tiles read: the activation's table."""
        if self.gelu is not None and self.buffers.table is not None:
            table = self.tiler.dram(self.gelu.table)
            self.emitter.load(table.at(pitch=4096), self.buffers.table.at(), 1, 4096)

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
        within: Affine | None = None,
        into: View | None = None,
        other: View | None = None,
        stores: bool = True,
    ) -> None:
        """All steps of one tile: `order` counts tiles, `column_slot` loads of parameters.

        The tile's columns begin `within` those whose parameters are loaded. The result goes to a
        buffer of its own, or `into` another one, and to DRAM if it `stores`. The `other` side of an
        addition is loaded where it is not on chip.
        """
        emitter, buffers = self.emitter, self.buffers
        size = self.output_bytes
        within = within or Affine(0)
        output = into
        if output is None:
            assert buffers.outputs is not None
            output = buffers.outputs.at(slot=order, pitch=column.size * size)
        where = (row.start + batch * self.rows) * self.columns + column.start
        target = output
        if buffers.rescaled is not None:
            target = buffers.rescaled.at(pitch=2 * column.size)
        elif buffers.activated is not None:
            target = buffers.activated.at(pitch=column.size * _BYTES[element(self.op.result)])
        self._rescale(sums, target, row, column, column_slot, within)
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
                    buffers.activation_parameters.at(within * 4, slot=column_slot),
                    buffers.table.at(),
                ],
                row.size,
                column.size,
                immediates=gelu_immediates(self.gelu),
            )
            current = target
        if self.join is not None and self.other is not None:
            other = other or self._load_other(row, column, order, where)
            first = self.tiler.same(self.join.rhs, self.other)
            kind, immediates = join(self.join)
            views = [current, other, output] if first else [other, current, output]
            emitter.emit(kind, views, row.size, column.size, immediates=immediates)
        if stores:
            place = self.tiler.dram(self.result).at(where * size, self.columns * size)
            emitter.store(output, place, row.size, column.size * size)

    def _load_other(self, row: Tile, column: Tile, order: Affine, where: Affine) -> View:
        assert self.buffers.residual is not None
        width = self.other_bytes
        other = self.buffers.residual.at(slot=order, pitch=column.size * width)
        place = self.tiler.dram(self.other).at(where * width, self.columns * width)
        self.emitter.load(place, other, row.size, column.size * width)
        return other

    def _rescale(
        self,
        sums: View,
        target: View,
        row: Tile,
        column: Tile,
        column_slot: Affine,
        within: Affine,
    ) -> None:
        views, flags, immediates = [sums, target, None], SCALAR, ()
        if self.buffers.parameters is not None:
            parameters = self.buffers.parameters.at(within * 4, slot=column_slot)
            views, flags = [sums, target, parameters], 0
        elif isinstance(self.op, mfm.IntegerMatmulOp):
            immediates = (0, self.op.multiplier.value, self.op.shift.value)
        self.emitter.emit(
            npu.RescaleOp, views, row.size, column.size, flags=flags, immediates=immediates
        )
