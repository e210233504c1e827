"""Operations that work row by row on their own: norms, gelu, add, multiply, rescale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch_mlir import ir

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import element
from girih.dialects.npu.vector import SCALAR, UNCENTERED
from girih.passes.tiling.cost import lines
from girih.passes.tiling.emitter import Buffer, Tile, View
from girih.passes.tiling.layer import LayerTiler, rows_and_columns

_BYTES = {"i8": 1, "i16": 2, "i32": 4}
_MOST_ROWS = 256


@dataclass(frozen=True)
class Constant:
    """A weight that stays on chip: rows x columns of int32; per channel or the same for all."""

    value: ir.Value
    rows: int
    columns: int
    per_channel: bool = True


@dataclass
class Streams:
    """Views of the tiles of operands, constants and the result."""

    sources: list[View]
    constants: list[View]
    target: View


Compute = Callable[[Streams, int, int], None]


@dataclass(frozen=True)
class _Source:
    """An operand as rows of the result's width; `streams` unless it is one row for all."""

    value: ir.Value
    rows: int
    bytes: int
    streams: bool


class RowTiler:
    """Streams tiles of rows through `compute`, which gets views, rows and columns.

    A source of one row is that row for all; one of fewer rows than the result is a block that
    repeats. Rows too wide for the scratchpad are split, if `splits` says that columns do not
    depend on each other.
    """

    def __init__(
        self,
        tiler: LayerTiler,
        sources: list[ir.Value],
        result: ir.Value,
        constants: list[Constant],
        splits: bool = True,
    ) -> None:
        self.tiler, self.emitter = tiler, tiler.emitter
        self.result, self.constants = result, constants
        self.rows, self.columns = rows_and_columns(result)
        self.out_bytes = _BYTES[element(result)]
        self.sources: list[_Source] = []
        for value in sources:
            count = rows_and_columns(value)[0]
            streams = count > 1 or self.rows == 1
            self.sources.append(_Source(value, count, _BYTES[element(value)], streams))
        # Rows after which a repeated block begins anew: the tiles must not straddle that.
        self.period = min((s.rows for s in self.sources if s.rows > 1), default=self.rows)
        self.height, self.width = self._choose(splits)
        self.several = 1 + (self.width < self.columns)
        self.slots = 1 + (self.height < self.rows or self.several > 1)

    def _choose(self, splits: bool) -> tuple[int, int]:
        """Rows and columns of a tile."""
        capacity = self.tiler.target.scratchpad_bytes
        width, parts = self.columns, 1
        while splits and width > 1 and self._needed(1, width) > capacity:
            parts += 1
            # Whole lines of the narrowest elements, where there are enough columns for that.
            width = -(-self.columns // parts)
            width = width if width < 64 else lines(width)
        height = min(self.period, _MOST_ROWS)
        while height > 1 and self._needed(height, width) > capacity:
            height = (height + 1) // 2
        if self._needed(height, width) > capacity:
            self.tiler.too_small(self._needed(1, width), 0)
        # Several blocks, so that transfers overlap with work, even where one would fit.
        if self.rows > 4 and height == self.rows:
            height = -(-self.rows // 4)
        return height, width

    def _needed(self, height: int, width: int) -> int:
        several = 1 + (width < self.columns)
        slots = 1 + (height < self.rows or several > 1)
        total = slots * lines(height * width * self.out_bytes)
        for source in self.sources:
            if source.streams:
                total += slots * lines(height * width * source.bytes)
            else:
                total += several * lines(width * source.bytes)
        for constant in self.constants:
            if constant.per_channel:
                total += several * lines(4 * constant.rows * width)
            else:
                total += lines(4 * constant.rows * constant.columns)
        return total

    def emit(self, compute: Compute) -> None:
        """Emit the whole layer."""
        emitter, width, several = self.emitter, self.width, self.several
        held: list[Buffer] = []
        for each in self.constants:
            if each.per_channel:
                held.append(emitter.scratchpad("i32", each.rows, width, several))
            else:
                held.append(emitter.scratchpad("i32", each.rows, each.columns))
                place = self.tiler.dram(each.value).at(pitch=4 * each.columns)
                emitter.load(place, held[-1].at(), each.rows, 4 * each.columns)
        inputs = [
            emitter.scratchpad(
                element(source.value),
                self.height if source.streams else 1,
                width,
                self.slots if source.streams else several,
            )
            for source in self.sources
        ]
        output = emitter.scratchpad(element(self.result), self.height, width, self.slots)

        def column_tile(column: Tile) -> None:
            constants = self._load_constants(column, held)
            for source, buffer in zip(self.sources, inputs, strict=True):
                if not source.streams:
                    place = self.tiler.dram(source.value).at(column.start * source.bytes)
                    target = buffer.at(slot=column.number)
                    emitter.load(place, target, 1, column.size * source.bytes)

            def row_tile(row: Tile, repetition: int) -> None:
                self._emit_tile(row, column, repetition, constants, inputs, output, compute)

            for repetition in range(self.rows // self.period):
                emitter.tiles(self.period, self.height, partial(row_tile, repetition=repetition))

        emitter.tiles(self.columns, width, column_tile)

    def _load_constants(self, column: Tile, held: list[Buffer]) -> list[View]:
        views: list[View] = []
        for constant, buffer in zip(self.constants, held, strict=True):
            if not constant.per_channel:
                views.append(buffer.at())
                continue
            view = buffer.at(slot=column.number, pitch=4 * column.size)
            place = self.tiler.dram(constant.value).at(column.start * 4, 4 * self.columns)
            self.emitter.load(place, view, constant.rows, 4 * column.size)
            views.append(view)
        return views

    def _emit_tile(
        self,
        row: Tile,
        column: Tile,
        repetition: int,
        constants: list[View],
        inputs: list[Buffer],
        output: Buffer,
        compute: Compute,
    ) -> None:
        blocks = -(-self.period // self.height)
        number = row.number + repetition * blocks
        number = number + column.number * (blocks * (self.rows // self.period))
        start = row.start + repetition * self.period
        views: list[View] = []
        for source, buffer in zip(self.sources, inputs, strict=True):
            if not source.streams:
                views.append(buffer.at(pitch=0, slot=column.number))
                continue
            row_bytes = column.size * source.bytes
            view = buffer.at(slot=number, pitch=row_bytes)
            first = start if source.rows == self.rows else row.start
            origin = (first * self.columns + column.start) * source.bytes
            place = self.tiler.dram(source.value).at(origin, self.columns * source.bytes)
            self.emitter.load(place, view, row.size, row_bytes)
            views.append(view)
        row_bytes = column.size * self.out_bytes
        target = output.at(slot=number, pitch=row_bytes)
        compute(Streams(views, constants, target), row.size, column.size)
        origin = (start * self.columns + column.start) * self.out_bytes
        place = self.tiler.dram(self.result).at(origin, self.columns * self.out_bytes)
        self.emitter.store(target, place, row.size, row_bytes)


def norm(tiler: LayerTiler, op: mfm.IntegerLayerNormOp | mfm.IntegerRmsNormOp) -> None:
    """integer_layer_norm or integer_rms_norm over blocks of whole rows."""
    uncentered = isinstance(op, mfm.IntegerRmsNormOp)

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            npu.LayerNormOp,
            [*streams.sources, streams.target, *streams.constants],
            rows,
            columns,
            flags=UNCENTERED if uncentered else 0,
            immediates=(op.epsilon.value, op.shift.value),
        )

    constant = Constant(op.parameters, *rows_and_columns(op.parameters))
    RowTiler(tiler, [op.x], op.result, [constant], splits=False).emit(compute)


def gelu(tiler: LayerTiler, op: mfm.IntegerGeluOp) -> None:
    """integer_gelu over blocks of rows."""

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            npu.GeluOp,
            [*streams.sources, streams.target, *streams.constants],
            rows,
            columns,
            immediates=(op.index_multiplier.value, op.index_shift.value),
        )

    constants = [
        Constant(op.parameters, *rows_and_columns(op.parameters)),
        Constant(op.table, 1, rows_and_columns(op.table)[1], per_channel=False),
    ]
    RowTiler(tiler, [op.x], op.result, constants).emit(compute)


def elementwise(tiler: LayerTiler, op: mfm.IntegerAddOp | mfm.IntegerMultiplyOp) -> None:
    """integer_add or integer_multiply over blocks of rows; a side of one row meets every row."""
    kind, immediates = join(op)

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            kind, [*streams.sources, streams.target], rows, columns, immediates=immediates
        )

    RowTiler(tiler, [op.lhs, op.rhs], op.result, []).emit(compute)


def join(
    op: mfm.IntegerAddOp | mfm.IntegerMultiplyOp,
) -> tuple[type[npu.AddOp | npu.MultiplyOp], tuple[int, ...]]:
    """The instruction that joins two tensors, and its immediates."""
    if isinstance(op, mfm.IntegerMultiplyOp):
        return npu.MultiplyOp, (op.multiplier.value, op.shift.value)
    return npu.AddOp, (op.lhs_multiplier.value, op.rhs_multiplier.value, op.shift.value)


def rescale(tiler: LayerTiler, op: mfm.RescaleOp) -> None:
    """Rescale over blocks of rows."""

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            npu.RescaleOp,
            [*streams.sources, streams.target, None],
            rows,
            columns,
            flags=SCALAR,
            immediates=(0, op.multiplier.value, op.shift.value),
        )

    RowTiler(tiler, [op.x], op.result, []).emit(compute)
