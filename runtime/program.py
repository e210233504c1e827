"""Program: the accelerator's instructions, their binary file and their text form.

docs/isa.md defines all three. A Program is what the code generator makes and the simulator runs.
The checks here are those of the *format* (magic, version, checksums, enumerations, reserved
fields); `girih.runtime.simulator.Machine` checks what an instruction means.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from girih.runtime.errors import ProgramError
from girih.runtime.target import Target

MAGIC = b"GIRIHNPU"
VERSION = 2
HEADER_BYTES = 64
INSTRUCTION_BYTES = 256
OPERAND_BYTES = 40
LOOP_DEPTH = 4
NO_WAIT = 0xFFFF


class Opcode(enum.IntEnum):
    """What an instruction does."""

    LOOP = 0
    END = 1
    DMA_IN = 2
    DMA_OUT = 3
    FILL = 4
    MATMUL = 5
    RESCALE = 6
    ADD = 7
    GELU = 8
    LAYER_NORM = 9
    SCORES = 10
    EXPONENTIAL = 11
    NORMALIZE = 12
    MULTIPLY = 13
    FOLD = 14


class Engine(enum.IntEnum):
    """What executes an instruction; the engines run at the same time."""

    DMA_IN = 0
    DMA_OUT = 1
    MATRIX = 2
    VECTOR = 3
    NONE = 255


class Space(enum.IntEnum):
    """The memory that an operand lies in."""

    DRAM = 0
    SCRATCHPAD = 1
    ACCUMULATOR = 2


class DType(enum.IntEnum):
    """The type of an operand's elements."""

    I8 = 0
    U8 = 1
    I16 = 2
    I32 = 3

    @property
    def bytes(self) -> int:
        """Size of an element."""
        return (1, 1, 2, 4)[self]

    @property
    def numpy(self) -> np.dtype[Any]:
        """The little-endian NumPy dtype."""
        return np.dtype(("<i1", "<u1", "<i2", "<i4")[self])

    @classmethod
    def of(cls, dtype: npt.DTypeLike) -> DType:
        """The DType of a NumPy dtype.

        Raises:
            ProgramError: the accelerator has no such type.
        """
        name = np.dtype(dtype).newbyteorder("<").str.lstrip("|<")
        names = {"i1": cls.I8, "u1": cls.U8, "i2": cls.I16, "i4": cls.I32}
        if name not in names:
            raise ProgramError(f"the accelerator has no type {np.dtype(dtype)}")
        return names[name]


class TransferFlag(enum.IntFlag):
    """Flags of dma_in and dma_out; the latter does not unpack."""

    INDEXED = 1
    UNPACK = 2


class MatmulFlag(enum.IntFlag):
    """Flags of matmul."""

    B_TRANSPOSED = 1
    ACCUMULATE = 2
    OUTPUT_STATIONARY = 4


class RescaleFlag(enum.IntFlag):
    """Flags of rescale."""

    SCALAR = 1
    PER_ROW = 2


class LayerNormFlag(enum.IntFlag):
    """Flags of layer_norm."""

    UNCENTERED = 1


class ScoresFlag(enum.IntFlag):
    """Flags of scores."""

    MASKED = 1
    CAUSAL = 2


FLAGS: Mapping[Opcode, type[enum.IntFlag]] = {
    Opcode.DMA_IN: TransferFlag,
    Opcode.DMA_OUT: TransferFlag,
    Opcode.MATMUL: MatmulFlag,
    Opcode.RESCALE: RescaleFlag,
    Opcode.LAYER_NORM: LayerNormFlag,
    Opcode.SCORES: ScoresFlag,
}

ENGINE_OF: Mapping[Opcode, Engine] = {
    Opcode.LOOP: Engine.NONE,
    Opcode.END: Engine.NONE,
    Opcode.DMA_IN: Engine.DMA_IN,
    Opcode.DMA_OUT: Engine.DMA_OUT,
    Opcode.MATMUL: Engine.MATRIX,
    **{opcode: Engine.VECTOR for opcode in Opcode if opcode == 4 or opcode >= 6},
}

_OPERAND = np.dtype(
    [
        ("base", "<u8"),
        ("pitch", "<u4"),
        ("slot_bytes", "<u4"),
        ("stride", "<i4", 4),
        ("ring", "u1", 4),
        ("space", "u1"),
        ("dtype", "u1"),
        ("slots", "u1"),
        ("phase", "u1"),
    ]
)

INSTRUCTION_DTYPE = np.dtype(
    [
        ("opcode", "u1"),
        ("engine", "u1"),
        ("flags", "<u2"),
        ("wait", "<u2", 4),
        ("rows", "<u4"),
        ("columns", "<u4"),
        ("depth", "<u4"),
        ("tag", "<u4"),
        ("reserved", "<u4"),
        ("immediates", "<i8", 8),
        ("operands", _OPERAND, 4),
    ]
)
"""The binary layout of an instruction, for vectorized reading of many."""

assert INSTRUCTION_DTYPE.itemsize == INSTRUCTION_BYTES
assert _OPERAND.itemsize == OPERAND_BYTES

_OPERAND_STRUCT = struct.Struct("<QII4i4BBBBB")
_FIELDS_STRUCT = struct.Struct("<BBH4HIIIII8q")
_HEADER_STRUCT = struct.Struct("<8sIIIIIHHQIII")
_UNUSED_OPERAND = bytes(OPERAND_BYTES)
_ZEROS4 = (0, 0, 0, 0)
_ZEROS8 = (0,) * 8
_NO_WAITS = (NO_WAIT, NO_WAIT, NO_WAIT, NO_WAIT)


@dataclass(frozen=True, slots=True)
class Operand:
    """Where an instruction reads or writes (docs/isa.md, Operand).

    Attributes:
        space: the memory.
        base: byte address in it.
        dtype: type of the elements; its size scales nothing: all other fields are in bytes.
        pitch: bytes between consecutive rows.
        slots, slot_bytes, phase, ring: a ring of `slots` buffers, `slot_bytes` apart; iteration i_l
            of loop level l moves `ring[l]` slots on, from slot `phase`.
        stride: bytes per iteration of loop level l (level 0 is the outermost).
    """

    space: Space
    base: int
    dtype: DType = DType.I8
    pitch: int = 0
    slots: int = 1
    slot_bytes: int = 0
    stride: tuple[int, int, int, int] = _ZEROS4
    ring: tuple[int, int, int, int] = _ZEROS4
    phase: int = 0

    def address(self, iterations: Sequence[int] = ()) -> int:
        """The byte address in the given iterations of the open loops, outermost first."""
        slot = self.phase
        address = self.base
        for level, iteration in enumerate(iterations):
            address += self.stride[level] * iteration
            slot += self.ring[level] * iteration
        return address + slot % self.slots * self.slot_bytes

    def encode(self) -> bytes:
        """The 40 bytes of the binary form."""
        return _OPERAND_STRUCT.pack(
            self.base,
            self.pitch,
            self.slot_bytes,
            *self.stride,
            *self.ring,
            self.space,
            self.dtype,
            self.slots,
            self.phase,
        )


def with_records(program: bytes, records: npt.NDArray[np.void]) -> bytes:
    """The program file of other instructions (of `INSTRUCTION_DTYPE`) for the same machine."""
    body = records.tobytes()
    header = bytearray(program[:HEADER_BYTES])
    header[16:20] = len(records).to_bytes(4, "little")
    header[44:48] = zlib.crc32(body).to_bytes(4, "little")
    header[48:52] = bytes(4)
    header[48:52] = zlib.crc32(header).to_bytes(4, "little")
    return bytes(header) + body


def waits(
    *,
    dma_in: int = NO_WAIT,
    dma_out: int = NO_WAIT,
    matrix: int = NO_WAIT,
    vector: int = NO_WAIT,
) -> tuple[int, int, int, int]:
    """Wait distances in the order that `Instruction.wait` has them.

    `matrix=0` waits for every matrix instruction issued before, `matrix=1` for all but the last.
    """
    return (dma_in, dma_out, matrix, vector)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One macro-instruction (docs/isa.md, Instruction and Opcodes).

    Attributes:
        opcode: what it does; it fixes the engine.
        rows, columns, depth: the extents of the tile; `rows` is the count of a loop.
        flags: of the opcode's flag class in `FLAGS`.
        a, b, c, d: operands; None where unused.
        immediates: up to 8 numbers, filled up with zeros.
        wait: distance per engine (see `waits`); its own engine's is NO_WAIT.
        tag: index of the layer in the report.
    """

    opcode: Opcode
    rows: int = 0
    columns: int = 0
    depth: int = 0
    flags: int = 0
    a: Operand | None = None
    b: Operand | None = None
    c: Operand | None = None
    d: Operand | None = None
    immediates: tuple[int, ...] = _ZEROS8
    wait: tuple[int, int, int, int] = _NO_WAITS
    tag: int = 0

    def __post_init__(self) -> None:
        missing = 8 - len(self.immediates)
        if missing < 0:
            raise ProgramError(
                f"{self.opcode.name.lower()}: expected at most 8 immediates, "
                f"found {len(self.immediates)}"
            )
        if missing:
            object.__setattr__(self, "immediates", tuple(self.immediates) + (0,) * missing)

    @property
    def engine(self) -> Engine:
        """The engine that executes the opcode."""
        return ENGINE_OF[self.opcode]

    @property
    def operands(self) -> tuple[Operand | None, ...]:
        """The four operands."""
        return (self.a, self.b, self.c, self.d)

    def encode(self) -> bytes:
        """The 256 bytes of the binary form.

        Raises:
            ProgramError: a field does not fit its width.
        """
        try:
            return b"".join(
                [
                    _FIELDS_STRUCT.pack(
                        self.opcode,
                        ENGINE_OF[self.opcode],
                        self.flags,
                        *self.wait,
                        self.rows,
                        self.columns,
                        self.depth,
                        self.tag,
                        0,
                        *self.immediates,
                    ),
                    self.a.encode() if self.a else _UNUSED_OPERAND,
                    self.b.encode() if self.b else _UNUSED_OPERAND,
                    self.c.encode() if self.c else _UNUSED_OPERAND,
                    self.d.encode() if self.d else _UNUSED_OPERAND,
                ]
            )
        except struct.error as error:
            raise ProgramError(f"a field does not fit its width: {error}: {self}") from error


@dataclass(frozen=True)
class Program:
    """Instructions and the machine that they are for.

    `encode`, `decode`, `save` and `load` are the binary form; `disassemble` and `assemble` the
    text. Each pair is inverse.

    Attributes:
        instructions: in program order.
        scratchpad_bytes, accumulator_bytes, array_rows, array_columns, vector_lanes: the machine's.
        dram_bytes: DRAM that the program needs, from address 0.
    """

    instructions: Sequence[Instruction] = field(repr=False)
    scratchpad_bytes: int
    accumulator_bytes: int
    array_rows: int
    array_columns: int
    vector_lanes: int
    dram_bytes: int

    @classmethod
    def for_target(
        cls, target: Target, instructions: Iterable[Instruction], dram_bytes: int
    ) -> Program:
        """A program of these instructions for the memories, array and lanes of `target`."""
        return cls(
            instructions=tuple(instructions),
            scratchpad_bytes=target.scratchpad_bytes,
            accumulator_bytes=target.accumulator_bytes,
            array_rows=target.array.rows,
            array_columns=target.array.columns,
            vector_lanes=target.vector.lanes,
            dram_bytes=dram_bytes,
        )

    @cached_property
    def encoded(self) -> bytes:
        """The program file, made once.

        Raises:
            ProgramError: a field does not fit its width.
        """
        body = b"".join([instruction.encode() for instruction in self.instructions])
        return self._header(body) + body

    def encode(self) -> bytes:
        """The program file: 64 bytes of header, then 256 bytes per instruction.

        Raises:
            ProgramError: a field does not fit its width.
        """
        return self.encoded

    def records(self) -> npt.NDArray[np.void]:
        """All instructions as an array of `INSTRUCTION_DTYPE` (read only)."""
        return np.frombuffer(self.encoded, INSTRUCTION_DTYPE, offset=HEADER_BYTES)

    def _header(self, body: bytes) -> bytes:
        def pack(header_checksum: int) -> bytes:
            return _HEADER_STRUCT.pack(
                MAGIC,
                VERSION,
                HEADER_BYTES,
                len(self.instructions),
                self.scratchpad_bytes,
                self.accumulator_bytes,
                self.array_rows,
                self.array_columns,
                self.dram_bytes,
                self.vector_lanes,
                zlib.crc32(body),
                header_checksum,
            ).ljust(HEADER_BYTES, b"\0")

        try:
            return pack(zlib.crc32(pack(0)))
        except struct.error as error:
            raise ProgramError(
                f"a field of the header does not fit its width: {error}: {self}"
            ) from error

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> Program:
        """The program of a program file's bytes.

        Raises:
            ProgramError: not a program file, another version, damaged, or an instruction that does
                not exist; the message names the place.
        """
        data = bytes(data)
        program = cls._decode_header(data)
        records = np.frombuffer(data, INSTRUCTION_DTYPE, offset=HEADER_BYTES)
        _check_records(records)
        object.__setattr__(program, "instructions", _decode_records(records))
        program.__dict__["encoded"] = data
        return program

    @classmethod
    def _decode_header(cls, data: bytes) -> Program:
        if len(data) < HEADER_BYTES or data[:8] != MAGIC:
            raise ProgramError(
                f"not a program file: expected {HEADER_BYTES} bytes of header that begin with "
                f"{MAGIC!r}, found {data[:8]!r} in {len(data)} bytes"
            )
        (
            _,
            version,
            header_bytes,
            count,
            scratchpad_bytes,
            accumulator_bytes,
            array_rows,
            array_columns,
            dram_bytes,
            vector_lanes,
            body_checksum,
            header_checksum,
        ) = _HEADER_STRUCT.unpack_from(data)
        if version != VERSION:
            raise ProgramError(
                f"program file version {version}: this girih reads version {VERSION}; "
                "compile the program again"
            )
        clean = bytearray(data[:HEADER_BYTES])
        clean[48:52] = bytes(4)
        found = zlib.crc32(clean)
        if found != header_checksum or header_bytes != HEADER_BYTES or any(clean[52:]):
            raise ProgramError(
                f"program file is damaged: the header's checksum is 0x{found:08x}, "
                f"expected 0x{header_checksum:08x}"
            )
        expected = HEADER_BYTES + count * INSTRUCTION_BYTES
        if len(data) != expected:
            raise ProgramError(
                f"program file is damaged: {count} instructions take {expected} bytes, "
                f"found {len(data)}"
            )
        found = zlib.crc32(memoryview(data)[HEADER_BYTES:])
        if found != body_checksum:
            raise ProgramError(
                f"program file is damaged: the instructions' checksum is 0x{found:08x}, "
                f"expected 0x{body_checksum:08x}"
            )
        return cls(
            instructions=(),
            scratchpad_bytes=scratchpad_bytes,
            accumulator_bytes=accumulator_bytes,
            array_rows=array_rows,
            array_columns=array_columns,
            vector_lanes=vector_lanes,
            dram_bytes=dram_bytes,
        )

    def save(self, path: str | Path) -> None:
        """Writes the program file."""
        Path(path).write_bytes(self.encoded)

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Reads a program file.

        Raises:
            ProgramError: as `decode`, with the path; or the file can not be read.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ProgramError(f"{path}: can not be read: {error.strerror}") from error
        try:
            return cls.decode(data)
        except ProgramError as error:
            raise ProgramError(f"{path}: {error}") from error

    def disassemble(self) -> str:
        """The text form: a header line, then one instruction a line, loop bodies indented."""
        from girih.runtime.assembler import disassemble

        return disassemble(self)

    @classmethod
    def assemble(cls, text: str) -> Program:
        """The program of a text; the inverse of `disassemble`.

        Raises:
            ProgramError: the message names the line, what was found and what was expected.
        """
        from girih.runtime.assembler import assemble

        return assemble(text)

    def with_instructions(self, instructions: Iterable[Instruction]) -> Program:
        """The same header over other instructions."""
        return replace(self, instructions=tuple(instructions))


_ENGINE_BY_CODE = np.array([ENGINE_OF[opcode] for opcode in Opcode], np.uint8)


def _check_records(records: npt.NDArray[np.void]) -> None:
    def refuse(bad: npt.NDArray[np.bool_], what: str, values: npt.NDArray[Any]) -> None:
        if bad.any():
            index = int(np.argmax(bad))
            code = int(records["opcode"][index])
            name = Opcode(code).name.lower() if code < len(Opcode) else f"opcode {code}"
            raise ProgramError(f"instruction {index} ({name}): {what}, found {values[index]}")

    opcode = records["opcode"]
    refuse(opcode >= len(Opcode), f"expected an opcode below {len(Opcode)}", opcode)
    engine = _ENGINE_BY_CODE[opcode]
    refuse(records["engine"] != engine, "expected the opcode's own engine", records["engine"])
    refuse(records["reserved"] != 0, "expected zero in the reserved field", records["reserved"])
    for letter, operands in zip("abcd", records["operands"].T, strict=True):
        used = operands["slots"] > 0
        raw = np.ascontiguousarray(operands).view(np.uint8).reshape(-1, OPERAND_BYTES)
        refuse(
            ~used & raw.any(axis=1),
            f"expected an unused operand {letter} to be all zero",
            operands,
        )
        refuse(used & (operands["space"] > 2), f"operand {letter}: no such space", operands)
        refuse(used & (operands["dtype"] > 3), f"operand {letter}: no such dtype", operands)


_SPACES = tuple(Space)
_DTYPES = tuple(DType)
_OPCODES = tuple(Opcode)


def _decode_records(records: npt.NDArray[np.void]) -> tuple[Instruction, ...]:
    known: dict[bytes, Operand | None] = {_UNUSED_OPERAND: None}

    def operand(raw: bytes) -> Operand | None:
        if raw in known:
            return known[raw]
        values = _OPERAND_STRUCT.unpack(raw)
        made = Operand(
            space=_SPACES[values[11]],
            base=values[0],
            dtype=_DTYPES[values[12]],
            pitch=values[1],
            slots=values[13],
            slot_bytes=values[2],
            stride=values[3:7],
            ring=values[7:11],
            phase=values[14],
        )
        known[raw] = made
        return made

    data = records.tobytes()
    instructions: list[Instruction] = []
    for start in range(0, len(data), INSTRUCTION_BYTES):
        values = _FIELDS_STRUCT.unpack_from(data, start)
        a, b, c, d = (
            operand(data[at : at + OPERAND_BYTES])
            for at in range(start + 96, start + INSTRUCTION_BYTES, OPERAND_BYTES)
        )
        instructions.append(
            Instruction(
                opcode=_OPCODES[values[0]],
                rows=values[7],
                columns=values[8],
                depth=values[9],
                flags=values[2],
                a=a,
                b=b,
                c=c,
                d=d,
                immediates=values[12:20],
                wait=values[3:7],
                tag=values[10],
            )
        )
    return tuple(instructions)
