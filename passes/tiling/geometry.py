"""Where things are: affine indices, tiles of buffers, tensors in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch_mlir import ir

from girih.dialects.npu.base import MemorySpace, View, space_of
from girih.runtime.program import DType


@dataclass(frozen=True, slots=True)
class Index:
    """``constant + sum terms[level] * iteration[level]`` of the open loops, outermost first."""

    constant: int = 0
    terms: tuple[int, ...] = ()

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.constant + other, self.terms)
        longest = max(len(self.terms), len(other.terms))
        pairs = zip(_padded(self.terms, longest), _padded(other.terms, longest), strict=True)
        return Index(self.constant + other.constant, tuple(a + b for a, b in pairs))

    __radd__ = __add__

    def __mul__(self, factor: int) -> Index:
        return Index(self.constant * factor, tuple(term * factor for term in self.terms))

    __rmul__ = __mul__


def _padded(terms: tuple[int, ...], length: int) -> tuple[int, ...]:
    return terms + (0,) * (length - len(terms))


ZERO = Index()


def as_index(value: Index | int) -> Index:
    """An index of a number."""
    return Index(value) if isinstance(value, int) else value


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows x columns elements of a buffer, `pitch` bytes between rows.

    `offset` is in bytes within slot `slot` (modulo the buffer's `slots`).
    """

    value: ir.Value
    dtype: DType
    rows: int
    columns: int
    pitch: int
    offset: Index = ZERO
    slot: Index = ZERO
    slots: int = 1

    @property
    def on_chip(self) -> bool:
        """Whether the buffer is not in DRAM."""
        return space_of(self.value) is not MemorySpace.DRAM

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.columns * self.dtype.bytes

    @property
    def contiguous(self) -> bool:
        """Whether rows follow each other without a gap."""
        return self.rows == 1 or self.pitch == self.row_bytes

    def part(
        self,
        row: Index | int = 0,
        column: Index | int = 0,
        rows: int | None = None,
        columns: int | None = None,
    ) -> Tile:
        """The part of `rows` x `columns` that begins at (row, column)."""
        offset = self.offset + as_index(row) * self.pitch + as_index(column) * self.dtype.bytes
        return replace(
            self,
            offset=offset,
            rows=self.rows if rows is None else rows,
            columns=self.columns if columns is None else columns,
        )

    def at(self, slot: Index | int) -> Tile:
        """The same part of another slot of the ring."""
        return replace(self, slot=as_index(slot))

    def view(self) -> View:
        """The view attribute of an access to the tile."""
        slot = self.slot
        return View(
            offset=self.offset.constant,
            pitch=self.pitch if self.rows > 1 else 0,
            strides=_trimmed(self.offset.terms),
            ring=_trimmed(tuple(term % self.slots for term in slot.terms)),
            phase=slot.constant % self.slots,
        )


def _trimmed(terms: tuple[int, ...]) -> tuple[int, ...]:
    while terms and terms[-1] == 0:
        terms = terms[:-1]
    return terms


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a buffer: strides and offset in bytes; a stride of 0 repeats."""

    value: ir.Value
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def dense(cls, value: ir.Value, dtype: DType, shape: Sequence[int], offset: int = 0) -> Tensor:
        """A row-major tensor from the start of a buffer, or `offset` bytes on."""
        return cls(value, dtype, tuple(shape), dense_strides(shape, dtype.bytes), offset)

    @property
    def on_chip(self) -> bool:
        """Whether the tensor lies in the scratchpad."""
        return space_of(self.value) is not MemorySpace.DRAM

    @property
    def bytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.bytes

    @property
    def is_dense(self) -> bool:
        """Whether elements lie row-major without gaps."""
        expected = dense_strides(self.shape, self.dtype.bytes)
        return all(
            size == 1 or own == wanted
            for size, own, wanted in zip(self.shape, self.strides, expected, strict=True)
        )

    def reshaped(self, shape: Sequence[int]) -> Tensor | None:
        """The same elements under another shape; None where that needs a copy."""
        if not self.is_dense:
            return None
        return Tensor.dense(self.value, self.dtype, shape, self.offset)

    def sliced(self, offsets: Sequence[int], steps: Sequence[int], shape: Sequence[int]) -> Tensor:
        """Elements offset, offset + step, ... along each axis."""
        moved = sum(a * b for a, b in zip(offsets, self.strides, strict=True))
        strides = tuple(a * b for a, b in zip(steps, self.strides, strict=True))
        return Tensor(self.value, self.dtype, tuple(shape), strides, self.offset + moved)

    def broadcast(self, shape: Sequence[int]) -> Tensor:
        """The tensor repeated to a larger shape, as NumPy does."""
        missing = len(shape) - len(self.shape)
        own = (1,) * missing + self.shape
        strides = (0,) * missing + self.strides
        moved = tuple(
            0 if size == 1 and wanted != 1 else stride
            for size, wanted, stride in zip(own, shape, strides, strict=True)
        )
        return Tensor(self.value, self.dtype, tuple(shape), moved, self.offset)

    def flat_rows(self) -> Tile | None:
        """All leading axes as rows of the last one; None where the strides do not allow it."""
        if not self.shape:
            return Tile(self.value, self.dtype, 1, 1, 0, Index(self.offset))
        *leading, columns = self.shape
        if columns > 1 and self.strides[-1] != self.dtype.bytes:
            return None
        pitch, rows = 0, 1
        for size, stride in zip(reversed(leading), reversed(self.strides[:-1]), strict=True):
            if size == 1:
                continue
            if rows == 1:
                pitch = stride
            elif stride != pitch * rows:
                return None
            rows *= size
        return Tile(self.value, self.dtype, rows, columns, pitch, Index(self.offset))

    def plane(self, row_axis: int, column_axis: int, fixed: dict[int, Index]) -> Tile:
        """Two axes of the tensor at given positions of the others."""
        size = self.dtype.bytes
        if self.shape[column_axis] > 1 and self.strides[column_axis] != size:
            raise ValueError(f"axis {column_axis} is not contiguous")
        offset = Index(self.offset)
        for axis, position in fixed.items():
            offset = offset + position * self.strides[axis]
        return Tile(
            self.value,
            self.dtype,
            self.shape[row_axis],
            self.shape[column_axis],
            self.strides[row_axis],
            offset,
        )


def dense_strides(shape: Sequence[int], element_bytes: int) -> tuple[int, ...]:
    """Byte strides of a row-major tensor."""
    strides: list[int] = []
    step = element_bytes
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
