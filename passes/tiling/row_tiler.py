"""Tiles of operations that work row by row: which rows of each operand meet which of the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects.mfm.base import element, shape
from girih.passes.tiling.cost import lines
from girih.passes.tiling.emitter import Affine, Buffer, Tile, View
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


def repeats(own: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, int] | None:
    """How whole rows of a tensor make those of a result to which it broadcasts.

    (block, times): each row `times` times in a row, and that for all rows again, `block` rows
    together. None where that does not describe it, or parts of rows are repeated.
    """
    own = (1,) * (len(result) - len(own)) + own
    if not own or own[-1] != result[-1]:
        return None
    first, last = 0, len(own) - 1
    while first < last and own[first] == 1:
        first += 1
    while last > first and own[last - 1] == 1:
        last -= 1
    if own[first:last] != result[first:last]:
        return None
    times = math.prod(result[last:-1])
    return math.prod(own[first:last]) * times, times


@dataclass(frozen=True)
class _Source:
    """An operand as rows of the result's width: the result reads row ``(i // times) % rows``."""

    value: ir.Value
    rows: int
    times: int
    bytes: int


class RowTiler:
    """Streams tiles of rows through `compute`, which gets views, rows and columns.

    A source of one row is that row for all; one of fewer rows than the result is a block that
    repeats, or each of its rows is repeated in place. Rows too wide for the scratchpad are split,
    if `splits` says that columns do not depend on each other.
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
            _, times = repeats(shape(value), shape(result)) or (0, 1)
            count = rows_and_columns(value)[0]
            self.sources.append(_Source(value, count, times, _BYTES[element(value)]))
        # Rows after which a repeated block, or the next repeated row, begins: the tiles must not
        # straddle that.
        steps = [s.times if s.times > 1 else s.rows for s in self.sources]
        self.period = min((step for step in steps if step > 1), default=self.rows)
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
            total += self._slots(source, slots) * lines(
                self._height(source, height) * width * source.bytes
            )
        for constant in self.constants:
            if constant.per_channel:
                total += several * lines(4 * constant.rows * width)
            else:
                total += lines(4 * constant.rows * constant.columns)
        return total

    def _is_one_row(self, source: _Source) -> bool:
        return source.rows == 1 and self.rows > 1

    def _height(self, source: _Source, height: int) -> int:
        return 1 if source.times > 1 or self._is_one_row(source) else height

    def _slots(self, source: _Source, slots: int) -> int:
        return 2 if self._is_one_row(source) or source.times > 1 else slots

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
                self._height(source, self.height),
                width,
                self._slots(source, self.slots),
            )
            for source in self.sources
        ]
        output = emitter.scratchpad(element(self.result), self.height, width, self.slots)

        def column_tile(column: Tile) -> None:
            constants = self._load_constants(column, held)
            for source, buffer in zip(self.sources, inputs, strict=True):
                if self._is_one_row(source):
                    self._load_row(source, buffer, Affine(0), column, column.number)

            def step(repetition: Tile) -> None:
                for source, buffer in zip(self.sources, inputs, strict=True):
                    if source.times > 1 and not self._is_one_row(source):
                        number = column.number * self.repetitions + repetition.number
                        self._load_row(source, buffer, repetition.start, column, number)

                def row_tile(row: Tile) -> None:
                    self._emit_tile(row, column, repetition, constants, inputs, output, compute)

                emitter.tiles(self.period, self.height, row_tile)

            emitter.tiles(self.repetitions, 1, step)

        emitter.tiles(self.columns, width, column_tile)

    @property
    def repetitions(self) -> int:
        """How often a block is repeated, or how many rows are."""
        return self.rows // self.period

    def _load_row(
        self, source: _Source, buffer: Buffer, row: Affine, column: Tile, slot: Affine
    ) -> None:
        origin = (row * self.columns + column.start) * source.bytes
        place = self.tiler.dram(source.value).at(origin)
        self.emitter.load(place, buffer.at(slot=slot), 1, column.size * source.bytes)

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
        repetition: Tile,
        constants: list[View],
        inputs: list[Buffer],
        output: Buffer,
        compute: Compute,
    ) -> None:
        blocks = -(-self.period // self.height)
        turn = column.number * self.repetitions + repetition.number
        number = turn * blocks + row.number
        start = row.start + repetition.start * self.period
        views: list[View] = []
        for source, buffer in zip(self.sources, inputs, strict=True):
            if self._is_one_row(source) or source.times > 1:
                slot = column.number if self._is_one_row(source) else turn
                views.append(buffer.at(pitch=0, slot=slot))
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
