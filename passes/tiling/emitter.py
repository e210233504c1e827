"""Builds `npu` code: buffers, loops over tiles, instructions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import npu
from girih.dialects.npu.base import DTYPES, LOOP_DEPTH, Access
from girih.dialects.npu.transfer import INDEXED, UNPACK

NO_WAIT = (-1, -1, -1, -1)


@dataclass(frozen=True)
class Affine:
    """``constant + sum coefficients[l] * i_l`` over the iterations of the open loops."""

    constant: int = 0
    coefficients: tuple[int, ...] = (0,) * LOOP_DEPTH

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.constant + other, self.coefficients)
        pairs = zip(self.coefficients, other.coefficients, strict=True)
        return Affine(self.constant + other.constant, tuple(a + b for a, b in pairs))

    def __mul__(self, factor: int) -> Affine:
        return Affine(self.constant * factor, tuple(c * factor for c in self.coefficients))

    def divided(self, unit: int) -> Affine:
        """The same in units; always a whole number of them."""
        assert all(value % unit == 0 for value in (self.constant, *self.coefficients))
        return Affine(self.constant // unit, tuple(c // unit for c in self.coefficients))

    @property
    def known(self) -> int | None:
        """The value, where no loop changes it."""
        return None if any(self.coefficients) else self.constant


@dataclass(frozen=True)
class Buffer:
    """A buffer on or off chip; `pitch` is the bytes of a row.

    `value` is what the emitter that made it knows it by: a value of the IR, or a plain record.
    """

    value: Any
    pitch: int
    slots: int = 1

    def at(
        self, offset: Affine | int = 0, pitch: int | None = None, slot: Affine | int = 0
    ) -> View:
        """The part that begins `offset` bytes into slot number `slot` (counted round)."""
        offset = Affine(offset) if isinstance(offset, int) else offset
        slot = Affine(slot) if isinstance(slot, int) else slot
        access = Access(
            offset=offset.constant,
            pitch=self.pitch if pitch is None else pitch,
            stride=offset.coefficients,
            ring=tuple(c % self.slots for c in slot.coefficients),
            phase=slot.constant % self.slots,
        )
        return View(self.value, access)


@dataclass(frozen=True)
class View:
    """Part of a buffer, as an instruction's operand."""

    value: Any
    access: Access


@dataclass(frozen=True)
class Tile:
    """One tile of a dimension: where it begins, how long it is, its number in the loop nest."""

    start: Affine
    size: int
    number: Affine


class Emitter:
    """Appends code of one layer after another to a program."""

    def __init__(self) -> None:
        self.layer = -1
        self.depth = 0
        self.life: tuple[int, int] | None = None
        """Phases of the layer in which the buffers that are allocated now hold something."""
        self._i64 = ir.IntegerType.get_signless(64)

    def integer(self, value: int) -> ir.IntegerAttr:
        """An i64 attribute."""
        return ir.IntegerAttr.get(self._i64, value)

    def allocate(self, space: str, element: str, rows: int, columns: int, slots: int = 1) -> Buffer:
        """An on-chip buffer of `slots` tiles of rows x columns elements."""
        element_type = ir.Type.parse(element)
        shape = [slots, rows, columns]
        kind = ir.MemRefType.get(shape, element_type, memory_space=ir.StringAttr.get(space))
        op = npu.AllocateOp(address=self.integer(-1), layer=self.integer(self.layer), buffer=kind)
        if self.life is not None:
            op.operation.attributes["life"] = ir.DenseI64ArrayAttr.get(list(self.life))
        return Buffer(op.buffer, columns * DTYPES[element].itemsize, slots)

    def scratchpad(self, element: str, rows: int, columns: int, slots: int = 1) -> Buffer:
        """A buffer in the scratchpad."""
        return self.allocate("scratchpad", element, rows, columns, slots)

    def accumulator(self, rows: int, columns: int, slots: int = 2) -> Buffer:
        """A buffer of int32 sums."""
        return self.allocate("accumulator", "i32", rows, columns, slots)

    @contextmanager
    def living(self, first: int, last: int) -> Generator[None, None, None]:
        """Buffers allocated inside hold something in these phases of the layer alone."""
        self.life = (first, last)
        yield
        self.life = None

    @contextmanager
    def loop(self, count: int) -> Generator[Affine, None, None]:
        """Emit the body `count` times; yields the iteration."""
        coefficients = [0] * LOOP_DEPTH
        coefficients[self.depth] = 1
        op = npu.LoopOp(count=self.integer(count))
        self.depth += 1
        with ir.InsertionPoint(op.body.blocks.append()):
            yield Affine(0, tuple(coefficients))
        self.depth -= 1

    def tiles(
        self,
        total: int,
        size: int,
        body: Callable[[Tile], None],
        peel_first: bool = False,
        unrolled: bool = False,
    ) -> None:
        """Emit `body` for each tile of a dimension, full tiles in a loop, the rest after it."""
        full, rest = divmod(total, size)
        start = 0
        if peel_first and full:
            body(Tile(Affine(0), size, Affine(0)))
            start = 1
            if full > 1 and not rest:
                # A tile at the end is a border too.
                full, rest = full - 1, size
        if unrolled:
            for number in range(start, full):
                body(Tile(Affine(number * size), size, Affine(number)))
        elif full - start > 1:
            with self.loop(full - start) as iteration:
                body(Tile(iteration * size + start * size, size, iteration + start))
        elif full - start == 1:
            body(Tile(Affine(start * size), size, Affine(start)))
        if rest:
            body(Tile(Affine(full * size), rest, Affine(full)))

    def emit(
        self,
        kind: type[Any],
        views: Sequence[View | None],
        rows: int,
        columns: int,
        depth: int = 0,
        flags: int = 0,
        immediates: Sequence[int] = (),
    ) -> None:
        """Append an instruction on views of buffers, in the order of its operands."""
        names = [field.name for field in kind._fields if isinstance(field, ext.OperandDef)]
        present = [view for view in views if view is not None]
        kind(
            rows=self.integer(rows),
            columns=self.integer(columns),
            depth=self.integer(depth),
            flags=self.integer(flags),
            # Never empty: the op classes take an empty array for a missing one.
            immediates=ir.DenseI64ArrayAttr.get(list(immediates) or [0]),
            accesses=ir.ArrayAttr.get([view.access.attribute() for view in present]),
            layer=self.integer(self.layer),
            waits=ir.DenseI64ArrayAttr.get(list(NO_WAIT)),
            **{
                name: None if view is None else view.value
                for name, view in zip(names, views, strict=False)
            },
        )

    def load(
        self,
        source: View,
        target: View,
        rows: int,
        row_bytes: int,
        *index: Any,
        unpacks: bool = False,
    ) -> None:
        """dma_in of rows x row_bytes, packed or not; `index` as in `_transfer`."""
        flags = UNPACK if unpacks else 0
        self._transfer(npu.DmaInOp, source, target, rows, row_bytes, *index, flags=flags)

    def store(self, source: View, target: View, rows: int, row_bytes: int, *index: Any) -> None:
        """dma_out of rows x row_bytes; `index` as in `_transfer`."""
        self._transfer(npu.DmaOutOp, source, target, rows, row_bytes, *index)

    def _transfer(
        self,
        kind: type[Any],
        source: View,
        target: View,
        rows: int,
        row_bytes: int,
        index: View | None = None,
        stride: int = 0,
        limit: int = 0,
        flags: int = 0,
    ) -> None:
        """A transfer; with an index, that number times `stride` moves its place in DRAM."""
        immediates = (stride, limit) if index else ()
        flags |= INDEXED if index else 0
        self.emit(kind, [source, target, index], rows, row_bytes, 0, flags, immediates)
