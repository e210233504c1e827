"""Run-time addresses: embeddings and caches."""

from __future__ import annotations

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import element, shape
from girih.dialects.npu.vector import PER_ROW
from girih.passes.tiling.emitter import Affine, Tile
from girih.passes.tiling.layer import LayerTiler, is_packed, rows_and_columns

_BYTES = {"i8": 1, "i16": 2, "i32": 4}


def embedding(tiler: LayerTiler, op: mfm.EmbeddingOp) -> None:
    """Copy the rows that the indices name, through the scratchpad."""
    emitter, table = tiler.emitter, tiler.dram(op.table)
    count, columns = rows_and_columns(op.result)
    row_bytes = columns * _BYTES[element(op.table)]
    if 2 * row_bytes > tiler.target.scratchpad_bytes:
        tiler.too_small(2 * row_bytes, 0)
    buffer = emitter.scratchpad(element(op.table), 1, columns, 2)

    def body(row: Tile) -> None:
        index = tiler.dram(op.indices).at(row.start * 4, 4)
        view = buffer.at(slot=row.number)
        limit = shape(op.table)[0]
        emitter.load(table.at(), view, 1, row_bytes, index, row_bytes, limit)
        emitter.store(view, tiler.dram(op.result).at(row.start * row_bytes), 1, row_bytes)

    emitter.tiles(count, 1, body)


def integer_embedding(tiler: LayerTiler, op: mfm.IntegerEmbeddingOp) -> None:
    """Fetch int8 rows and their scales by index, and rescale them to int16."""
    emitter, table, unpacks = tiler.emitter, tiler.dram(op.table), is_packed(op.table)
    limit, columns = shape(op.table)
    count, _ = rows_and_columns(op.result)
    if 6 * columns + 256 > tiler.target.scratchpad_bytes:
        tiler.too_small(6 * columns + 256, 0)
    rows = emitter.scratchpad("i8", 1, columns, 2)
    scales = emitter.scratchpad("i32", 1, 3, 2)
    results = emitter.scratchpad("i16", 1, columns, 2)

    def body(row: Tile) -> None:
        index = tiler.dram(op.indices).at(row.start * 4, 4)
        source, scale = rows.at(slot=row.number), scales.at(slot=row.number)
        target = results.at(slot=row.number)
        emitter.load(table.at(), source, 1, columns, index, table.pitch, limit, unpacks=unpacks)
        emitter.load(tiler.dram(op.parameters).at(), scale, 1, 12, index, 12, limit)
        emitter.emit(npu.RescaleOp, [source, target, scale], 1, columns, flags=PER_ROW)
        emitter.store(target, tiler.dram(op.result).at(row.start * 2 * columns), 1, 2 * columns)

    emitter.tiles(count, 1, body)


def cache_update(tiler: LayerTiler, op: mfm.CacheUpdateOp, in_place: bool) -> None:
    """Write rows at run-time positions; copy the rest of the cache where it must stay intact."""
    emitter = tiler.emitter
    batch, length = shape(op.cache)[:2]
    width = _BYTES[element(op.cache)]
    _, total = rows_and_columns(op.cache)
    row_bytes = width * total
    for size in shape(op.cache)[2:-1]:
        row_bytes *= size
    count = shape(op.rows)[1]
    if 2 * row_bytes > tiler.target.scratchpad_bytes:
        tiler.too_small(2 * row_bytes, 0)
    buffer = emitter.scratchpad("i8", 1, row_bytes, 2)
    if not in_place:
        _copy(tiler, op, batch * length, row_bytes)
    for number in range(batch):

        def body(row: Tile, number: int = number) -> None:
            view = buffer.at(slot=row.number + number * count)
            source = tiler.dram(op.rows).at((row.start + number * count) * row_bytes, row_bytes)
            emitter.load(source, view, 1, row_bytes)
            emitter.store(
                view,
                tiler.dram(op.result).at(Affine(number * length * row_bytes), row_bytes),
                1,
                row_bytes,
                tiler.dram(op.position).at(row.start * 4, 4),
                row_bytes,
                length,
            )

        emitter.tiles(count, 1, body)


def _copy(tiler: LayerTiler, op: mfm.CacheUpdateOp, rows: int, row_bytes: int) -> None:
    emitter = tiler.emitter
    # A quarter of the scratchpad, twice, leaves room for the rows to write.
    block = max(1, min(rows, tiler.target.scratchpad_bytes // 4 // row_bytes))
    buffer = emitter.scratchpad("i8", block, row_bytes, 2)

    def body(row: Tile) -> None:
        view = buffer.at(slot=row.number)
        emitter.load(
            tiler.dram(op.cache).at(row.start * row_bytes, row_bytes), view, row.size, row_bytes
        )
        emitter.store(
            view, tiler.dram(op.result).at(row.start * row_bytes, row_bytes), row.size, row_bytes
        )

    emitter.tiles(rows, block, body)
