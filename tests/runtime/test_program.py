"""The binary and the text form of programs."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.runtime.errors import ProgramError
from girih.runtime.program import (
    HEADER_BYTES,
    INSTRUCTION_BYTES,
    NO_WAIT,
    DType,
    Engine,
    Instruction,
    MatmulFlag,
    Opcode,
    Operand,
    Program,
    RescaleFlag,
    Space,
    waits,
)
from girih.runtime.target import Target

GOLDEN = """\
program scratchpad=524288 accumulator=131072 array=32x32 lanes=64 dram=4096
dma_in rows=1 columns=1024 a=dram:i8[0x400] b=scratchpad:i8[0x8000]
loop count=4
  dma_in rows=8 columns=16 a=dram:i8[0x0 pitch=16 stride=128,0,0,0] b=scratchpad:i8[0x0 pitch=16 \
slots=2/128 ring=1,0,0,0] wait=matrix-1
  loop count=2 tag=9
    matmul rows=8 columns=64 depth=16 flags=b_transposed,accumulate a=scratchpad:u8[0x0 pitch=16 \
slots=2/128 ring=1,0,0,0 phase=1] b=scratchpad:i8[0x8000 pitch=16] c=accumulator:i32[0x0 \
pitch=256 stride=2048,-4,0,0] wait=dma_in-0,vector-65534 tag=3
  end
end
rescale rows=8 columns=64 flags=scalar a=accumulator:i32[0x0 pitch=256] b=scratchpad:i16[0x9000 \
pitch=128] immediates=-5,1073741824,33 wait=matrix-0 tag=4
"""


def golden_program() -> Program:
    ring = {"slots": 2, "slot_bytes": 128, "ring": (1, 0, 0, 0)}
    instructions = [
        Instruction(
            Opcode.DMA_IN,
            rows=1,
            columns=1024,
            a=Operand(Space.DRAM, 0x400),
            b=Operand(Space.SCRATCHPAD, 0x8000),
        ),
        Instruction(Opcode.LOOP, rows=4),
        Instruction(
            Opcode.DMA_IN,
            rows=8,
            columns=16,
            a=Operand(Space.DRAM, 0, pitch=16, stride=(128, 0, 0, 0)),
            b=Operand(Space.SCRATCHPAD, 0, pitch=16, slots=2, slot_bytes=128, ring=(1, 0, 0, 0)),
            wait=waits(matrix=1),
        ),
        Instruction(Opcode.LOOP, rows=2, tag=9),
        Instruction(
            Opcode.MATMUL,
            rows=8,
            columns=64,
            depth=16,
            flags=MatmulFlag.B_TRANSPOSED | MatmulFlag.ACCUMULATE,
            a=Operand(
                Space.SCRATCHPAD,
                0,
                DType.U8,
                pitch=16,
                slots=ring["slots"],
                slot_bytes=ring["slot_bytes"],
                ring=ring["ring"],
                phase=1,
            ),
            b=Operand(Space.SCRATCHPAD, 0x8000, pitch=16),
            c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=256, stride=(2048, -4, 0, 0)),
            wait=waits(dma_in=0, vector=65534),
            tag=3,
        ),
        Instruction(Opcode.END),
        Instruction(Opcode.END),
        Instruction(
            Opcode.RESCALE,
            rows=8,
            columns=64,
            flags=RescaleFlag.SCALAR,
            a=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=256),
            b=Operand(Space.SCRATCHPAD, 0x9000, DType.I16, pitch=128),
            immediates=(-5, 1 << 30, 33),
            wait=waits(matrix=0),
            tag=4,
        ),
    ]
    return Program.for_target(Target.load("edge"), instructions, 4096)


def test_golden_text() -> None:
    assert golden_program().disassemble() == GOLDEN
    assert Program.assemble(GOLDEN) == golden_program()


def test_binary_layout() -> None:
    data = golden_program().encode()
    assert data[:8] == b"GIRIHNPU"
    assert len(data) == HEADER_BYTES + 8 * INSTRUCTION_BYTES
    matmul = data[HEADER_BYTES + 4 * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES]
    assert matmul[:2] == bytes([Opcode.MATMUL, Engine.MATRIX])
    assert struct.unpack_from("<H4HIIIII", matmul, 2) == (
        3,
        0,
        NO_WAIT,
        NO_WAIT,
        65534,
        8,
        64,
        16,
        3,
        0,
    )
    c = matmul[96 + 80 : 96 + 120]
    assert struct.unpack("<QII4i4BBBBB", c) == (0, 256, 0, 2048, -4, 0, 0, 0, 0, 0, 0, 2, 3, 1, 0)
    assert golden_program().records()["opcode"].tolist() == [2, 0, 2, 0, 5, 1, 1, 6]


def test_file_round_trip(tmp_path: Path) -> None:
    program = golden_program()
    path = tmp_path / "a.program"
    program.save(path)
    assert Program.load(path) == program
    assert Program.load(path).encode() == program.encode()
    with pytest.raises(ProgramError, match=r"b\.program: can not be read"):
        Program.load(tmp_path / "b.program")


def numbers(bits: int, signed: bool = False) -> st.SearchStrategy[int]:
    if signed:
        return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return st.integers(0, (1 << bits) - 1)


operands = st.builds(
    Operand,
    space=st.sampled_from(Space),
    base=numbers(64),
    dtype=st.sampled_from(DType),
    pitch=numbers(32),
    slots=st.integers(1, 255),
    slot_bytes=numbers(32),
    stride=st.tuples(*[numbers(32, True)] * 4),
    ring=st.tuples(*[numbers(8)] * 4),
    phase=numbers(8),
)
instructions = st.sampled_from([opcode for opcode in Opcode if opcode > Opcode.END]).flatmap(
    lambda opcode: st.builds(
        Instruction,
        opcode=st.just(opcode),
        rows=numbers(32),
        columns=numbers(32),
        depth=numbers(32),
        flags=numbers(16),
        a=st.none() | operands,
        b=st.none() | operands,
        c=st.none() | operands,
        d=st.none() | operands,
        immediates=st.lists(numbers(64, True), max_size=8).map(tuple),
        wait=st.tuples(*[numbers(16)] * 4).map(
            lambda wait: tuple(
                NO_WAIT if engine == Instruction(opcode).engine else distance
                for engine, distance in enumerate(wait)
            )
        ),
        tag=numbers(32),
    )
)


@settings(deadline=None, max_examples=50)
@given(st.lists(instructions, max_size=4))
def test_every_program_survives_both_forms(made: list[Instruction]) -> None:
    program = Program(tuple(made), 1024, 2048, 3, 5, 7, 1 << 40)
    assert Program.decode(program.encode()) == program
    assert Program.assemble(program.disassemble()) == program


def test_assembler_takes_comments_and_any_order() -> None:
    text = (
        "# a comment\nprogram dram=0 lanes=0x7 array=3x5 accumulator=2 scratchpad=1\n\n"
        "fill columns=2 rows=1 a=scratchpad:i8[16 phase=1 slots=2/4] # another\n"
    )
    program = Program.assemble(text)
    assert program.instructions[0].a == Operand(
        Space.SCRATCHPAD, 16, slots=2, slot_bytes=4, phase=1
    )
    assert (program.vector_lanes, program.array_columns) == (7, 5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("jump rows=1", "line 2: expected an opcode, found 'jump'"),
        ("fill rows=x", "line 2: rows: expected a number, found 'x'"),
        ("fill flags=fast", "line 2: expected a flag of fill, found 'fast'"),
        ("fill speed=4", "line 2: expected a field of an instruction, found 'speed'"),
        ("fill rows=1 rows=2", "line 2: expected name=value, each name once, found 'rows=2'"),
        ("fill a=scratchpad[0x0]", r"line 2: a: expected space:dtype\[address ...\]"),
        ("fill a=cache:i8[0x0]", "line 2: a: expected a space, found 'cache'"),
        ("fill a=dram:f32[0x0]", "line 2: a: expected a dtype, found 'f32'"),
        ("fill a=dram:i8[0x0 ring=1]", "line 2: ring: expected 4 numbers, found '1'"),
        ("fill wait=vector-0", "line 2: wait: expected another engine"),
        ("fill rows=-1", None),
    ],
)
def test_assembler_errors_name_the_line(line: str, message: str | None) -> None:
    text = GOLDEN.splitlines()[0] + "\n" + line + "\n"
    if message is None:  # fits the text, not the binary form
        with pytest.raises(ProgramError, match="does not fit"):
            Program.assemble(text).encode()
    else:
        with pytest.raises(ProgramError, match=message):
            Program.assemble(text)


def test_assembler_needs_a_header() -> None:
    with pytest.raises(ProgramError, match="line 1: expected `program`"):
        Program.assemble("end\n")
    with pytest.raises(ProgramError, match="expected a `program` line, found nothing"):
        Program.assemble("# nothing\n")


def damage(data: bytes, place: int, value: int | None = None) -> bytes:
    changed = bytearray(data)
    changed[place] = changed[place] ^ 0x10 if value is None else value
    return bytes(changed)


def sealed(data: bytearray) -> bytes:
    """Makes the checksums right again."""
    data[44:48] = struct.pack("<I", zlib.crc32(data[HEADER_BYTES:]))
    data[48:52] = bytes(4)
    data[48:52] = struct.pack("<I", zlib.crc32(data[:HEADER_BYTES]))
    return bytes(data)


def test_damage_is_found_everywhere() -> None:
    data = golden_program().encode()
    for place in np.random.default_rng(0).integers(0, len(data), 200).tolist():
        with pytest.raises(ProgramError):
            Program.decode(damage(data, place))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"PNG" + data, "not a program file"),
        (lambda data: data[:40], "not a program file: expected 64 bytes of header"),
        (lambda data: damage(data, 8, 3), "version 3: this girih reads version 2"),
        (lambda data: damage(data, 20), "the header's checksum is 0x"),
        (lambda data: damage(data, 300), "the instructions' checksum is 0x"),
        (lambda data: data[:-1], "8 instructions take 2112 bytes, found 2111"),
    ],
)
def test_damage_is_explained(change: object, message: str) -> None:
    assert callable(change)
    with pytest.raises(ProgramError, match=message):
        Program.decode(change(golden_program().encode()))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 15, "instruction 0 .opcode 15.: expected an opcode below 15, found 15"),
        (1, 3, "instruction 0 .dma_in.: expected the opcode's own engine, found 3"),
        (28, 1, "instruction 0 .dma_in.: expected zero in the reserved field, found 1"),
        (96 + 36, 9, "instruction 0 .dma_in.: operand a: no such space"),
        (96 + 37, 9, "instruction 0 .dma_in.: operand a: no such dtype"),
        (96 + 80, 9, "instruction 0 .dma_in.: expected an unused operand c to be all zero"),
    ],
)
def test_sealed_nonsense_is_refused(place: int, value: int, message: str) -> None:
    data = bytearray(golden_program().encode())
    data[HEADER_BYTES + place] = value
    with pytest.raises(ProgramError, match=message):
        Program.decode(sealed(data))


def test_fields_that_do_not_fit() -> None:
    with pytest.raises(ProgramError, match="does not fit its width"):
        Program.for_target(Target.load("edge"), [Instruction(Opcode.END, tag=-1)], 0).encode()
    with pytest.raises(ProgramError, match="at most 8 immediates, found 9"):
        Instruction(Opcode.ADD, immediates=(0,) * 9)
    with pytest.raises(ProgramError, match="no type float32"):
        DType.of(np.float32)


def test_address() -> None:
    operand = Operand(
        Space.SCRATCHPAD,
        100,
        slots=3,
        slot_bytes=1000,
        stride=(10, -1, 0, 0),
        ring=(1, 2, 0, 0),
        phase=2,
    )
    assert operand.address((0, 0)) == 100 + 2000
    assert operand.address((1, 0)) == 110
    assert operand.address((4, 3)) == 140 - 3 + (2 + 4 + 6) % 3 * 1000
