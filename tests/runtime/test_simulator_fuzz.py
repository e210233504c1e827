"""Random damage to instructions: every program either runs or is refused; nothing crashes."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from girih.runtime.errors import ProgramError
from girih.runtime.program import (
    HEADER_BYTES,
    INSTRUCTION_BYTES,
    DType,
    LayerNormFlag,
    MatmulFlag,
    Opcode,
    Operand,
    Program,
    RescaleFlag,
    ScoresFlag,
    Space,
    TransferFlag,
)
from girih.runtime.simulator import Machine

pytestmark = pytest.mark.simulator


def every_opcode(bench: Any) -> tuple[Program, bytes]:
    """A program that has each opcode, with loops, and its DRAM."""
    test = bench()
    generator = np.random.default_rng(1)
    scale = np.array([[5] * 40, [1 << 30] * 40, [33] * 40], np.int32)
    size = {"rows": 6, "columns": 40}
    table = test.put(np.arange(-1024, 0, dtype=np.int32).reshape(1, -1))
    parameters = test.put(scale)
    pairs = test.put(scale[1:])
    per_row = test.put(np.tile(np.array([[1, 1 << 30, 31]], np.int32), (6, 1)))
    a = generator.integers(-128, 128, (6, 24), dtype=np.int8)
    accumulator, _ = test.product(a, generator.integers(-128, 128, (24, 40), dtype=np.int8), 3)
    wide = test.room(6, 40, DType.I16)
    narrow = test.room(6, 40, DType.I8)
    powers = test.room(6, 40, DType.U8)
    largest = test.put(np.full((6, 2), -32768, np.int16))
    sums = test.put(np.zeros((6, 2), np.int32))
    state = test.put(np.zeros((6, 41), np.int32))
    mask = test.put(generator.integers(0, 2, (6, 40)).astype(np.int8))
    test.do(Opcode.RESCALE, **size, a=accumulator, b=wide, c=parameters)
    test.do(
        Opcode.RESCALE,
        **size,
        a=wide,
        b=narrow,
        flags=RescaleFlag.SCALAR,
        immediates=(1, 1 << 30, 31),
    )
    test.do(Opcode.RESCALE, **size, a=narrow, b=wide, c=per_row, flags=RescaleFlag.PER_ROW)
    test.do(Opcode.ADD, **size, a=wide, b=wide, c=wide, immediates=(1 << 29, 1 << 29, 30))
    test.do(Opcode.GELU, **size, a=wide, b=narrow, c=pairs, d=table, immediates=(1 << 30, 36))
    test.do(Opcode.LAYER_NORM, **size, a=wide, b=narrow, c=pairs, immediates=(3, 20))
    test.do(
        Opcode.LAYER_NORM,
        **size,
        a=wide,
        b=narrow,
        c=pairs,
        flags=LayerNormFlag.UNCENTERED,
        immediates=(3, 20),
    )
    test.do(Opcode.MULTIPLY, **size, a=wide, b=narrow, c=wide, immediates=(1 << 30, 37))
    test.do(Opcode.LOOP, rows=2)
    test.do(
        Opcode.SCORES,
        **size,
        a=accumulator,
        b=wide,
        c=largest,
        d=mask,
        flags=ScoresFlag.MASKED | ScoresFlag.CAUSAL,
        immediates=(1 << 30, 34, 30, 0),
    )
    test.do(
        Opcode.EXPONENTIAL,
        **size,
        a=wide,
        b=powers,
        c=largest,
        d=sums,
    )
    test.do(Opcode.FOLD, **size, a=accumulator, b=state, c=sums)
    test.do(Opcode.END)
    test.do(Opcode.NORMALIZE, **size, a=accumulator, b=narrow, c=sums, immediates=(1 << 30, 37))
    test.do(Opcode.FILL, **size, a=narrow, immediates=(-3,))
    test.do(
        Opcode.MATMUL,
        rows=6,
        columns=6,
        depth=40,
        a=powers,
        b=mask,
        c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=24),
        flags=MatmulFlag.B_TRANSPOSED,
    )
    index = len(test.dram)
    test.dram.extend(struct.pack("<i", 2))
    test.do(
        Opcode.DMA_IN,
        rows=2,
        columns=20,
        flags=TransferFlag.INDEXED,
        a=Operand(Space.DRAM, 0, pitch=40),
        b=Operand(Space.SCRATCHPAD, narrow.base, pitch=40),
        c=Operand(Space.DRAM, index, DType.I32),
        immediates=(8, 4),
    )
    return test.program(), bytes(test.dram)


def mutate(generator: np.random.Generator, data: bytearray) -> None:
    """Changes a few bytes: anything, a bit, an interesting value, or a copy from elsewhere."""
    count = (len(data) - HEADER_BYTES) // INSTRUCTION_BYTES
    for _ in range(int(generator.integers(1, 4))):
        start = HEADER_BYTES + int(generator.integers(count)) * INSTRUCTION_BYTES
        field = start + int(generator.choice([0, 2, 4, 12, 16, 20, 32, 40, 96, 104, 132, 136]))
        place = start + int(generator.integers(INSTRUCTION_BYTES))
        kind = generator.integers(6)
        if kind == 0:
            data[place] = int(generator.integers(256))
        elif kind == 1:
            data[place] ^= 1 << int(generator.integers(8))
        elif kind == 2:
            value = int(generator.choice([0, 1, 2, 3, 7, 16, 63, 255, 256, 65535, 1 << 20]))
            data[field : field + 4] = struct.pack("<I", value)
        elif kind == 3:
            data[field] = int(generator.integers(16))
        elif kind == 4:
            other = HEADER_BYTES + int(generator.integers(count)) * INSTRUCTION_BYTES
            data[start : start + INSTRUCTION_BYTES] = data[other : other + INSTRUCTION_BYTES]
        else:
            part = 96 + 40 * int(generator.integers(4))
            other = start + 96 + 40 * int(generator.integers(4))
            data[start + part : start + part + 40] = data[other : other + 40]


def seal(data: bytearray) -> None:
    data[44:48] = struct.pack("<I", zlib.crc32(memoryview(data)[HEADER_BYTES:]))
    data[48:52] = bytes(4)
    data[48:52] = struct.pack("<I", zlib.crc32(memoryview(data)[:HEADER_BYTES]))


def small_enough(data: bytes) -> bool:
    """Leaves out programs that loop for minutes: they run, too, but not in a test."""
    records = np.frombuffer(data, np.uint8, offset=HEADER_BYTES).reshape(-1, INSTRUCTION_BYTES)
    counts = records[records[:, 0] == Opcode.LOOP, 12:16].copy().view("<u4")
    return bool(np.prod(counts.astype(float)) < 5000)


def test_mutated_programs_run_or_are_refused(bench: Any) -> None:
    program, dram = every_opcode(bench)
    assert {instruction.opcode for instruction in program.instructions} == set(Opcode)
    original = program.encode()
    generator = np.random.default_rng(2)
    machine = Machine("edge", dram_bytes=program.dram_bytes + 4096)
    runs = 0
    refusals: list[str] = []
    for _ in range(6000):
        data = bytearray(original)
        mutate(generator, data)
        seal(data)
        if not small_enough(data):
            continue
        machine.write_dram(0, dram)
        try:
            cycles = machine.run(data).cycles
            assert machine.run(data, functional=False).cycles == cycles
            runs += 1
        except ProgramError as error:
            refusals.append(str(error))
    # Both must happen often, or this tests little.
    assert runs > 300
    assert len(refusals) > 3000
    assert all("instruction" in message for message in refusals)


def test_the_unchanged_program_runs(bench: Any) -> None:
    program, dram = every_opcode(bench)
    machine = Machine("edge", dram_bytes=program.dram_bytes)
    machine.write_dram(0, dram)
    first = machine.run(program)
    assert first == machine.run(program)


def test_flipped_bytes_of_a_file_are_refused(bench: Any) -> None:
    program, _ = every_opcode(bench)
    machine = Machine("edge", dram_bytes=program.dram_bytes)
    data = bytearray(program.encode())
    for place in np.random.default_rng(3).integers(0, len(data), 500).tolist():
        data[place] ^= 1 << place % 8
        with pytest.raises(ProgramError):
            machine.load(data)
        data[place] ^= 1 << place % 8
