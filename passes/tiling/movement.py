"""Slices, concatenations, repetitions, transpositions: strided copies through the scratchpad."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.assembly import BroadcastOp, ConcatenateOp
from girih.dialects.mfm.base import element, shape
from girih.passes.tiling.emitter import Affine, Buffer, Tile
from girih.passes.tiling.layer import LayerTiler

_BYTES = {"i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 4}
_LOOPS = 3
"""Outer axes that are loops; the rows are one more, and the sequencer nests four."""


@dataclass(frozen=True)
class _Axis:
    """An axis of a copy: its length, and the bytes from one index to the next on both sides."""

    size: int
    source: int
    target: int


def slice_(tiler: LayerTiler, op: mfm.SliceOp) -> None:
    """Every stride-th row or block of rows."""
    width = _BYTES[element(op.x)]
    own, out = _strides(shape(op.x), width), _strides(shape(op.result), width)
    offsets, steps = list(op.offsets), list(op.strides)
    axes = [
        _Axis(size, stride * step, target)
        for size, stride, step, target in zip(shape(op.result), own, steps, out, strict=True)
    ]
    offset = sum(o * stride for o, stride in zip(offsets, own, strict=True))
    copy(tiler, op.x, op.result, axes, width, offset, 0)


def transpose(tiler: LayerTiler, op: mfm.TransposeOp) -> None:
    """Rows stay whole: the last axis does not move."""
    width = _BYTES[element(op.x)]
    own, out = _strides(shape(op.x), width), _strides(shape(op.result), width)
    axes = [
        _Axis(size, own[axis], target)
        for size, axis, target in zip(shape(op.result), op.permutation, out, strict=True)
    ]
    copy(tiler, op.x, op.result, axes, width, 0, 0)


def concatenate(tiler: LayerTiler, op: ConcatenateOp) -> None:
    """Each part to its place."""
    width = _BYTES[element(op.result)]
    out, axis, start = _strides(shape(op.result), width), op.axis.value, 0
    largest = max(width * math.prod(shape(part)) for part in op.operands)
    buffer = tiler.emitter.scratchpad("i8", 1, min(largest, _room(tiler)), 2)
    for part in op.operands:
        axes = [
            _Axis(size, source, target)
            for size, source, target in zip(
                shape(part), _strides(shape(part), width), out, strict=True
            )
        ]
        copy(tiler, part, op.result, axes, width, 0, start * out[axis], buffer)
        start += shape(part)[axis]


def broadcast(tiler: LayerTiler, op: BroadcastOp) -> None:
    """Rows again and again: an axis along which the source does not move."""
    width, sizes = _BYTES[element(op.x)], shape(op.result)
    own = (1,) * (len(sizes) - len(shape(op.x))) + shape(op.x)
    axes = [
        _Axis(size, stride if count == size else 0, target)
        for size, count, stride, target in zip(
            sizes, own, _strides(own, width), _strides(sizes, width), strict=True
        )
    ]
    copy(tiler, op.x, op.result, axes, width, 0, 0)


def whole(tiler: LayerTiler, source: ir.Value, target: Buffer) -> None:
    """A copy of a tensor elsewhere: a result that lies in another place already."""
    width = _BYTES[element(source)]
    strides = _strides(shape(source), width)
    axes = [_Axis(size, each, each) for size, each in zip(shape(source), strides, strict=True)]
    _Copy(tiler, tiler.dram(source), target, axes, width, 0, 0).emit()


def copy(
    tiler: LayerTiler,
    source: ir.Value,
    target: ir.Value,
    axes: list[_Axis],
    width: int,
    source_offset: int,
    target_offset: int,
    buffer: Buffer | None = None,
) -> None:
    """Copy elements of `width` bytes along axes from offsets in bytes.

    The buffer, of two slots, is what copies of one layer share.
    """
    places = tiler.dram(source), tiler.dram(target)
    _Copy(tiler, *places, axes, width, source_offset, target_offset, buffer).emit()


def moves_rows(op: ir.OpView) -> bool:
    """Whether an operation that only moves elements moves whole runs of the last axis."""
    if isinstance(op, ConcatenateOp):
        return True
    if isinstance(op, BroadcastOp):
        return shape(op.x)[-1:] == shape(op.result)[-1:]
    if isinstance(op, mfm.SliceOp):
        return list(op.strides)[-1] == 1
    order = list(op.permutation)
    return order[-1] == len(order) - 1


def _room(tiler: LayerTiler) -> int:
    """Bytes of a slot, where two of them are all that the scratchpad holds."""
    return tiler.target.scratchpad_bytes // 2 // 64 * 64


def _strides(sizes: tuple[int, ...], width: int) -> list[int]:
    """Bytes from one index to the next along each axis of a row-major tensor."""
    return [width * int(np.prod(sizes[axis + 1 :], dtype=np.int64)) for axis in range(len(sizes))]


def _merge(axes: list[_Axis], width: int) -> list[_Axis]:
    """The fewest axes for the same copy; the last is a contiguous run on both sides."""
    merged = [_Axis(1, width, width)]
    for axis in reversed([each for each in axes if each.size > 1]):
        inner = merged[0]
        if (axis.source, axis.target) == (inner.size * inner.source, inner.size * inner.target):
            merged[0] = _Axis(axis.size * inner.size, inner.source, inner.target)
        else:
            merged.insert(0, axis)
    return merged


class _Copy:
    def __init__(
        self,
        tiler: LayerTiler,
        source: Buffer,
        target: Buffer,
        axes: list[_Axis],
        width: int,
        source_offset: int,
        target_offset: int,
        buffer: Buffer | None = None,
    ) -> None:
        self.emitter = tiler.emitter
        self.source, self.target = source, target
        self.offsets = source_offset, target_offset
        *outer, run = _merge(axes, width)
        self.run = run.size * run.source
        self.rows = outer.pop() if outer else _Axis(1, self.run, self.run)
        self.outer = outer
        room = _room(tiler) if buffer is None else buffer.pitch
        self.chunk = min(self.run, room)
        self.block = max(1, min(self.rows.size, room // self.chunk))
        self.buffer = buffer or self.emitter.scratchpad("i8", self.block, self.chunk, 2)

    def emit(self) -> None:
        """One loop nest: outer axes, blocks of rows, chunks of a row that is very long."""
        self._axis(0, Affine(self.offsets[0]), Affine(self.offsets[1]), Affine(0))

    def _axis(self, number: int, source: Affine, target: Affine, order: Affine) -> None:
        if number == len(self.outer):
            self._rows(source, target, order)
            return
        axis = self.outer[number]

        def body(step: Tile) -> None:
            self._axis(
                number + 1,
                source + step.start * axis.source,
                target + step.start * axis.target,
                order * axis.size + step.number,
            )

        self.emitter.tiles(axis.size, 1, body, unrolled=number < len(self.outer) - _LOOPS)

    def _rows(self, source: Affine, target: Affine, order: Affine) -> None:
        emitter, rows = self.emitter, self.rows
        blocks, parts = -(-rows.size // self.block), -(-self.run // self.chunk)

        def block(row: Tile) -> None:
            number = (order * blocks + row.number) * parts

            def chunk(part: Tile) -> None:
                view = self.buffer.at(slot=number + part.number, pitch=part.size)
                origin = source + row.start * rows.source + part.start
                emitter.load(self.source.at(origin, rows.source), view, row.size, part.size)
                origin = target + row.start * rows.target + part.start
                emitter.store(view, self.target.at(origin, rows.target), row.size, part.size)

            emitter.tiles(self.run, self.chunk, chunk, unrolled=len(self.outer) >= _LOOPS)

        emitter.tiles(rows.size, self.block, block)
