"""Operations that work row by row on their own: layer norm, gelu, add, rescale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch_mlir import ir

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import element
from girih.dialects.npu.vector import SCALAR
from girih.passes.tiling.cost import lines
from girih.passes.tiling.emitter import Buffer, Tile, View
from girih.passes.tiling.layer import LayerTiler, rows_and_columns

_BYTES = {"i8": 1, "i16": 2, "i32": 4}
_MOST_ROWS = 256


@dataclass
class _Streams:
    """Tiles of the operands that stream, and of the result."""

    sources: list[View]
    target: View


def tile_rows(
    tiler: LayerTiler,
    sources: list[ir.Value],
    result: ir.Value,
    constants: list[tuple[ir.Value, int, int]],
    compute: Callable[[_Streams, list[Buffer], int, int], None],
) -> None:
    """Stream blocks of rows through `compute`.

    A source of one row is that row for all; one of fewer rows than the result is a block that
    repeats. `constants` are weights that
    stay on chip: (value, rows, columns) of int32.
    """
    emitter, target = tiler.emitter, tiler.target
    rows, columns = rows_and_columns(result)
    counts = [rows_and_columns(source)[0] for source in sources]
    streaming = [count > 1 or rows == 1 for count in counts]
    # Rows after which a repeated block begins anew: the tiles must not straddle that.
    period = min((count for count in counts if count > 1), default=rows)
    widths = [_BYTES[element(source)] for source in sources]
    out_width = _BYTES[element(result)]

    def needed(count: int) -> int:
        slots = 1 + (count < rows)
        total = slots * lines(count * columns * out_width)
        for streams, width in zip(streaming, widths, strict=True):
            total += slots * lines(count * columns * width) if streams else lines(columns * width)
        return total + sum(lines(4 * r * c) for _, r, c in constants)

    count = min(period, _MOST_ROWS)
    while count > 1 and needed(count) > target.scratchpad_bytes:
        count = (count + 1) // 2
    if needed(count) > target.scratchpad_bytes:
        tiler.too_small(needed(1), 0)
    # Several blocks, so that transfers overlap with work, even where one would fit.
    if rows > 4 and count == rows:
        count = -(-rows // 4)
    blocks = -(-period // count)
    slots = 1 + (count < rows)
    held = [emitter.scratchpad("i32", r, c) for _, r, c in constants]
    for (value, r, c), buffer in zip(constants, held, strict=True):
        emitter.load(tiler.dram(value).at(pitch=4 * c), buffer.at(), r, 4 * c)
    inputs: list[Buffer] = []
    for source, streams in zip(sources, streaming, strict=True):
        buffer = emitter.scratchpad(
            element(source), count if streams else 1, columns, slots if streams else 1
        )
        inputs.append(buffer)
        if not streams:
            emitter.load(tiler.dram(source).at(), buffer.at(), 1, buffer.pitch)
    output = emitter.scratchpad(element(result), count, columns, slots)

    def body(row: Tile, repetition: int) -> None:
        number = row.number + repetition * blocks
        start = row.start + repetition * period
        views: list[View] = []
        for source, buffer, own in zip(sources, inputs, counts, strict=True):
            streams = own > 1 or rows == 1
            view = buffer.at(slot=number) if streams else buffer.at(pitch=0)
            if streams:
                place = tiler.dram(source)
                first = start if own == rows else row.start
                origin = place.at(first * buffer.pitch, buffer.pitch)
                emitter.load(origin, view, row.size, buffer.pitch)
            views.append(view)
        target_view = output.at(slot=number)
        compute(_Streams(views, target_view), held, row.size, columns)
        place = tiler.dram(result).at(start * output.pitch, output.pitch)
        emitter.store(target_view, place, row.size, output.pitch)

    for repetition in range(rows // period):
        emitter.tiles(period, count, partial(body, repetition=repetition))


def layer_norm(tiler: LayerTiler, op: mfm.IntegerLayerNormOp) -> None:
    """integer_layer_norm over blocks of rows."""
    columns = rows_and_columns(op.x)[1]

    def compute(streams: _Streams, held: list[Buffer], rows: int, width: int) -> None:
        tiler.emitter.emit(
            npu.LayerNormOp,
            [streams.sources[0], streams.target, held[0].at()],
            rows,
            width,
            immediates=(op.epsilon.value, op.shift.value),
        )

    tile_rows(tiler, [op.x], op.result, [(op.parameters, 2, columns)], compute)


def gelu(tiler: LayerTiler, op: mfm.IntegerGeluOp) -> None:
    """integer_gelu over blocks of rows."""
    columns = rows_and_columns(op.x)[1]

    def compute(streams: _Streams, held: list[Buffer], rows: int, width: int) -> None:
        tiler.emitter.emit(
            npu.GeluOp,
            [streams.sources[0], streams.target, held[0].at(), held[1].at()],
            rows,
            width,
            immediates=(op.index_multiplier.value, op.index_shift.value),
        )

    constants = [(op.parameters, 2, columns), (op.table, 1, 1024)]
    tile_rows(tiler, [op.x], op.result, constants, compute)


def add(tiler: LayerTiler, op: mfm.IntegerAddOp) -> None:
    """integer_add over blocks of rows; a right side of one row is added to every row."""

    def compute(streams: _Streams, held: list[Buffer], rows: int, width: int) -> None:
        tiler.emitter.emit(
            npu.AddOp,
            [*streams.sources, streams.target],
            rows,
            width,
            immediates=(op.lhs_multiplier.value, op.rhs_multiplier.value, op.shift.value),
        )

    tile_rows(tiler, [op.lhs, op.rhs], op.result, [], compute)


def rescale(tiler: LayerTiler, op: mfm.RescaleOp) -> None:
    """Rescale over blocks of rows."""

    def compute(streams: _Streams, held: list[Buffer], rows: int, width: int) -> None:
        tiler.emitter.emit(
            npu.RescaleOp,
            [streams.sources[0], streams.target, None],
            rows,
            width,
            flags=SCALAR,
            immediates=(0, op.multiplier.value, op.shift.value),
        )

    tile_rows(tiler, [op.x], op.result, [], compute)
