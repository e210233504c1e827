"""Programs that the machine refuses, each with a message that names the place."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from girih.runtime.errors import GirihError, ProgramError
from girih.runtime.program import (
    DType,
    Instruction,
    MatmulFlag,
    Opcode,
    Operand,
    Program,
    RescaleFlag,
    Space,
    TransferFlag,
    waits,
)
from girih.runtime.simulator import Machine, available_kernels
from girih.runtime.target import Target

pytestmark = pytest.mark.simulator

TARGET = Target.load("small")
DRAM_BYTES = 1 << 16


def scratchpad(address: int, dtype: DType = DType.I8, pitch: int = 0, **fields: Any) -> Operand:
    return Operand(Space.SCRATCHPAD, address, dtype, pitch=pitch, **fields)


def bring(address: int, columns: int, source: int = 0, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.DMA_IN,
        rows=1,
        columns=columns,
        a=Operand(Space.DRAM, source),
        b=scratchpad(address),
        **fields,
    )


def store(address: int, columns: int, place: int = 32768, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.DMA_OUT,
        rows=1,
        columns=columns,
        a=scratchpad(address),
        b=Operand(Space.DRAM, place),
        **fields,
    )


def fill(address: int, columns: int, dtype: DType = DType.I8, **fields: Any) -> Instruction:
    return Instruction(Opcode.FILL, rows=1, columns=columns, a=scratchpad(address, dtype), **fields)


def matmul(**fields: Any) -> Instruction:
    return replace(
        Instruction(
            Opcode.MATMUL,
            rows=4,
            columns=4,
            depth=16,
            a=scratchpad(0, pitch=16),
            b=scratchpad(64, pitch=4),
            c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=16),
        ),
        **fields,
    )


def rescale(**fields: Any) -> Instruction:
    return replace(
        Instruction(
            Opcode.RESCALE,
            rows=4,
            columns=4,
            flags=RescaleFlag.SCALAR,
            a=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=16),
            b=scratchpad(1024, pitch=4),
            immediates=(0, 1, 1),
        ),
        **fields,
    )


def run(*instructions: Instruction, functional: bool = True) -> None:
    machine = Machine(TARGET, dram_bytes=DRAM_BYTES)
    machine.write_dram(0, np.zeros(32768, np.uint8))
    program = Program.for_target(TARGET, instructions, DRAM_BYTES)
    machine.run(program, functional=functional)


def loop(count: int, *body: Instruction) -> list[Instruction]:
    return [Instruction(Opcode.LOOP, rows=count), *body, Instruction(Opcode.END)]


HAZARDS = {
    "read after write": (
        [bring(0, 256), matmul()],
        r"instruction 1 \(matmul on engine matrix\): hazard: operand a reads scratchpad at address "
        r"0x0, which instruction 0 \(dma_in on engine dma_in\) wrote, and no wait orders the two; "
        r"wait for engine dma_in\n  1: matmul rows=4",
    ),
    "wait for too few": (
        [bring(0, 64), bring(64, 64), matmul(wait=waits(dma_in=1))],
        r"instruction 2 .*operand b reads scratchpad at address 0x40, which instruction 1 ",
    ),
    "write after read": (
        [bring(0, 128), matmul(wait=waits(dma_in=0)), bring(64, 16)],
        r"instruction 2 \(dma_in on engine dma_in\): hazard: operand b writes scratchpad at "
        r"address 0x40, which instruction 1 \(matmul on engine matrix\) read",
    ),
    "write after write": (
        [bring(0, 64), fill(48, 32)],
        r"instruction 1 \(fill on engine vector\): hazard: operand a writes scratchpad at address "
        r"0x30, which instruction 0 \(dma_in on engine dma_in\) wrote",
    ),
    "neighbours in a line": (
        [bring(0, 8), fill(8, 8)],
        r"operand a writes scratchpad at address 0x0, which instruction 0 ",
    ),
    "accumulator read": (
        [bring(0, 128), matmul(wait=waits(dma_in=0)), rescale()],
        r"operand a reads accumulator at address 0x0, which instruction 1 \(matmul",
    ),
    "accumulator overwritten": (
        [
            bring(0, 128),
            matmul(wait=waits(dma_in=0)),
            rescale(wait=waits(matrix=0)),
            matmul(),
        ],
        r"instruction 3 .*operand c writes accumulator at address 0x0, which instruction 2 "
        r"\(rescale on engine vector\) read",
    ),
    "through dram": (
        [fill(0, 64), store(0, 64, wait=waits(vector=0)), bring(64, 64, source=32768)],
        r"operand a reads dram at address 0x8000, which instruction 1 \(dma_out on engine dma_out",
    ),
    "in a loop": (
        loop(3, bring(0, 64, wait=waits(vector=1)), fill(0, 64, wait=waits(dma_in=0))),
        r"instruction 1 \(dma_in on engine dma_in, iteration 1\): hazard: operand b writes "
        r"scratchpad at address 0x0, which instruction 2 \(fill on engine vector\) wrote",
    ),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_hazards(name: str) -> None:
    instructions, message = HAZARDS[name]
    with pytest.raises(ProgramError, match=message):
        run(*instructions)
    run(*instructions, functional=False)


def test_order_is_transitive() -> None:
    """The store waits for the fill alone, which waited for the transfer."""
    touch = fill(16, 16, wait=waits(dma_in=0))
    run(bring(0, 16), touch, store(0, 16, wait=waits(vector=0)))
    with pytest.raises(ProgramError, match=r"instruction 3 .*which instruction 1 "):
        run(fill(64, 16), bring(0, 16), fill(16, 16), store(0, 16, wait=waits(vector=0)))


def test_an_earlier_run_is_over() -> None:
    machine = Machine(TARGET, dram_bytes=DRAM_BYTES)
    machine.write_dram(0, np.arange(64, dtype=np.uint8))
    first = Program.for_target(
        TARGET, [bring(0, 64), store(0, 64, wait=waits(dma_in=0))], DRAM_BYTES
    )
    second = Program.for_target(
        TARGET,
        [bring(0, 64, source=32768), store(0, 64, place=40000, wait=waits(dma_in=0))],
        DRAM_BYTES,
    )
    for _ in range(3):
        machine.run(first)
        machine.run(second)
    np.testing.assert_array_equal(machine.read_dram(40000, 64), np.arange(64))
    # What is on chip does not outlive a run.
    third = Program.for_target(TARGET, [store(0, 64)], DRAM_BYTES)
    with pytest.raises(ProgramError, match="which nothing has written"):
        machine.run(third)


UNINITIALIZED = {
    "scratchpad": ([store(100, 5)], r"operand a reads scratchpad at address 0x64, which nothing"),
    "the last byte": (
        [bring(0, 63), store(0, 64, wait=waits(dma_in=0))],
        r"instruction 1 .*operand a reads scratchpad at address 0x3f, which nothing has written",
    ),
    "dram": ([bring(0, 8, source=32764)], r"operand a reads dram at address 0x8000, which nothing"),
    "accumulator": ([rescale()], r"operand a reads accumulator at address 0x0, which nothing"),
    "accumulated on nothing": (
        [bring(0, 128), matmul(wait=waits(dma_in=0), flags=MatmulFlag.ACCUMULATE)],
        r"operand c reads accumulator at address 0x0, which nothing has written",
    ),
}


@pytest.mark.parametrize("name", UNINITIALIZED)
def test_uninitialized(name: str) -> None:
    instructions, message = UNINITIALIZED[name]
    with pytest.raises(ProgramError, match=message):
        run(*instructions)


OUT_OF_RANGE = {
    "end": (
        loop(3, bring(TARGET.scratchpad_bytes - 40, 20)),
        None,
    ),
    "by a stride": (
        loop(3, replace(bring(0, 20), b=scratchpad(131072 - 40, stride=(20, 0, 0, 0)))),
        r"instruction 1 \(dma_in on engine dma_in, iteration 2\): operand b is out of range: 20 "
        r"bytes from address 0x20000 of scratchpad, which has 131072 bytes",
    ),
    "below zero": (
        loop(3, replace(bring(0, 20), a=Operand(Space.DRAM, 20, stride=(-20, 0, 0, 0)))),
        r"iteration 2\): operand a is out of range: 20 bytes from address -0x14 of dram",
    ),
    "by a slot": (
        loop(
            2,
            replace(
                bring(0, 20),
                b=scratchpad(0, slots=2, slot_bytes=131060, ring=(1, 0, 0, 0)),
            ),
        ),
        r"iteration 1\): operand b is out of range: 20 bytes from address 0x1fff4",
    ),
    "base": (
        [bring(1 << 60, 1)],
        r"instruction 0 \(dma_in\): operand b is out of range: address 0x1000000000000000, but "
        r"scratchpad has 131072 bytes",
    ),
    "rows": (
        [Instruction(Opcode.FILL, rows=1 << 31, columns=1, a=scratchpad(0, pitch=(1 << 32) - 1))],
        r"instruction 0 \(fill\): operand a spans 2147483648 rows of 1 bytes, 4294967295 apart: "
        r"more than the 131072 bytes of scratchpad",
    ),
    "by an index": (
        [
            replace(
                bring(0, 64),
                flags=int(TransferFlag.INDEXED),
                c=Operand(Space.DRAM, 0, DType.I32),
                immediates=(64, 1025),
            )
        ],
        r"operand a is out of range: 64 bytes from address 0x10000 of dram",
    ),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
@pytest.mark.parametrize("functional", [True, False])
def test_out_of_range(name: str, functional: bool) -> None:
    instructions, message = OUT_OF_RANGE[name]
    if message is None:
        run(*instructions, functional=functional)
        return
    with pytest.raises(ProgramError, match=message):
        run(*instructions, functional=functional)


def test_groups_are_whole() -> None:
    """What is unpacked comes in groups of 32 columns, and only into the scratchpad."""
    part = replace(bring(0, 40), flags=int(TransferFlag.UNPACK))
    with pytest.raises(ProgramError, match="it unpacks groups of 32 columns, found 40"):
        run(part)
    out = Instruction(
        Opcode.DMA_OUT,
        rows=1,
        columns=32,
        a=scratchpad(0),
        b=Operand(Space.DRAM, 0),
        flags=int(TransferFlag.UNPACK),
    )
    with pytest.raises(ProgramError, match="it has no flag 0x2"):
        run(out)


def test_a_packed_row_ends_in_memory() -> None:
    """17 bytes for 32 columns: the last group may end where the DRAM does."""
    fits = replace(bring(DRAM_BYTES - 34, 64), flags=int(TransferFlag.UNPACK))
    run(replace(fits, b=scratchpad(0)), functional=False)
    beyond = replace(fits, a=Operand(Space.DRAM, DRAM_BYTES - 33), b=scratchpad(0))
    with pytest.raises(ProgramError, match="operand a is out of range: 34 bytes"):
        run(beyond, functional=False)


@pytest.mark.parametrize("index", [-1, 10, 1 << 30])
def test_bad_index(index: int) -> None:
    machine = Machine(TARGET, dram_bytes=DRAM_BYTES)
    machine.write_dram(0, np.zeros(1024, np.uint8))
    machine.write_dram(1024, np.array([index], np.int32))
    gather = replace(
        bring(0, 8),
        flags=int(TransferFlag.INDEXED),
        c=Operand(Space.DRAM, 1024, DType.I32),
        immediates=(8, 10),
    )
    program = Program.for_target(TARGET, [gather], DRAM_BYTES)
    message = rf"operand c at address 0x400 of dram holds the index {index}, expected 0 to 9"
    with pytest.raises(ProgramError, match=message):
        machine.run(program)
    machine.run(program, functional=False)


@pytest.mark.parametrize(("multiplier", "shift"), [(-1, 5), (5, 0), (5, 63), (5, -(1 << 31))])
@pytest.mark.parametrize("kernels", available_kernels())
def test_bad_parameters(kernels: str, multiplier: int, shift: int) -> None:
    machine = Machine(TARGET, dram_bytes=DRAM_BYTES, kernels=kernels)
    parameters = np.ones((3, 20), np.int32)
    parameters[1:, 17] = multiplier, shift
    machine.write_dram(0, parameters)
    work = Instruction(
        Opcode.RESCALE,
        rows=1,
        columns=20,
        a=scratchpad(0, pitch=20),
        b=scratchpad(2048, pitch=20),
        c=scratchpad(0, DType.I32, pitch=80),
        wait=waits(dma_in=0),
    )
    message = rf"operand c holds multiplier {multiplier} and shift {shift} for column 17"
    with pytest.raises(ProgramError, match=message):
        machine.run(Program.for_target(TARGET, [bring(0, 240), work], DRAM_BYTES))


OVERLAPS = [
    # a and c of different width at the same place; rows that run into each other; partly the same
    replace(rescale(), a=scratchpad(0, DType.I16, pitch=8), b=scratchpad(0, DType.I8, pitch=8)),
    replace(rescale(), a=scratchpad(0, DType.I8, pitch=8), b=scratchpad(2, DType.I8, pitch=8)),
    replace(rescale(), a=scratchpad(0, DType.I8, pitch=8), b=scratchpad(8, DType.I8, pitch=8)),
    replace(rescale(), a=scratchpad(0, DType.I8, pitch=8), b=scratchpad(6, DType.I8, pitch=8)),
    replace(rescale(), a=scratchpad(0, DType.I8, pitch=8), b=scratchpad(4, DType.I8, pitch=4)),
]


@pytest.mark.parametrize("number", range(len(OVERLAPS)))
def test_overlap(number: int) -> None:
    work = replace(OVERLAPS[number], wait=waits(dma_in=0))
    with pytest.raises(ProgramError, match=r"operand b at address 0x\w+ overlaps operand a"):
        run(bring(0, 256), work)


def test_columns_side_by_side_do_not_overlap() -> None:
    left, right = scratchpad(0, DType.I8, pitch=8), scratchpad(4, DType.I8, pitch=8)
    run(bring(0, 256), replace(rescale(), a=left, b=right, wait=waits(dma_in=0)))
    run(bring(0, 256), replace(rescale(), a=right, b=left, wait=waits(dma_in=0)))


MALFORMED = {
    "loop without end": ([Instruction(Opcode.LOOP, rows=2), fill(0, 1)], "the loop has no end"),
    "end without loop": ([Instruction(Opcode.END)], r"instruction 0 \(end\): no loop is open"),
    "empty loop": (loop(2), r"instruction 1 \(end\): the body of its loop is empty"),
    "no iterations": (loop(0, fill(0, 1)), r"instruction 0 \(loop\): expected a count of at least"),
    "five loops": (
        loop(1, *loop(1, *loop(1, *loop(1, *loop(1, fill(0, 1)))))),
        r"instruction 4 \(loop\): loops nest at most 4 deep",
    ),
    "endless": (
        loop(1 << 31, *loop(1 << 31, *loop(1 << 31, *loop(1 << 31, fill(0, 1))))),
        r"the loops issue more than 1073741824 instructions",
    ),
    "no rows": ([replace(fill(0, 1), rows=0)], "expected rows, columns and depth of at least 1"),
    "no depth": ([matmul(depth=0)], "at least 1, found 4 x 4 x 0"),
    "depth of a fill": ([replace(fill(0, 1), depth=1)], "expected no depth"),
    "unknown flag": ([replace(fill(0, 1), flags=4)], r"instruction 0 \(fill\): it has no flag 0x4"),
    "both kinds of rescale": ([rescale(flags=3)], "exclude each other"),
    "missing operand": ([matmul(b=None)], "expected operand b, with at least 1 slot"),
    "too many operands": ([replace(fill(0, 1), b=scratchpad(0))], "expected no operand b"),
    "parameters of a scalar rescale": ([rescale(c=scratchpad(0))], "expected no operand c"),
    "wrong space": (
        [matmul(c=scratchpad(0, DType.I32, 16))],
        "operand c can not lie in scratchpad",
    ),
    "wrong dtype": (
        [matmul(b=scratchpad(0, DType.U8, 4))],
        "operand b can not be u8 in scratchpad",
    ),
    "closed level": (
        loop(2, fill(0, 1), replace(fill(0, 1), a=scratchpad(0, stride=(0, 1, 0, 0)))),
        r"instruction 2 \(fill\): operand a moves with loop level 1, which is not open here",
    ),
    "base alignment": ([fill(2, 1, DType.I32)], "operand a is i32: expected .* multiples of 4"),
    "pitch alignment": (
        [Instruction(Opcode.FILL, rows=2, columns=1, a=scratchpad(0, DType.I16, pitch=3))],
        "operand a is i16: expected .* multiples of 2 bytes, found base 0x0, pitch 3",
    ),
    "overlapping rows": (
        [Instruction(Opcode.FILL, rows=2, columns=4, a=scratchpad(0, pitch=3))],
        "operand a is written: expected a pitch of at least its row of 4 bytes, found 3",
    ),
    "waits for itself": ([fill(0, 1, wait=waits(vector=0))], "can not wait for engine vector"),
    "loop waits": (
        [
            Instruction(Opcode.LOOP, rows=1, wait=waits(vector=0)),
            fill(0, 1),
            Instruction(Opcode.END),
        ],
        "can not wait for engine vector",
    ),
    "fill value": (
        [fill(0, 1, immediates=(128,))],
        r"immediate 0 \(value\): expected -128 to 127, found 128",
    ),
    "shift": (
        [rescale(immediates=(0, 1, 63))],
        r"immediate 2 \(shift\): expected 1 to 62, found 63",
    ),
    "multiplier of a product": (
        [
            Instruction(
                Opcode.MULTIPLY,
                rows=1,
                columns=1,
                a=scratchpad(0),
                b=scratchpad(1),
                c=scratchpad(2),
                immediates=(-1, 1),
            )
        ],
        r"immediate 0 \(multiplier\): expected 0 to 2147483647, found -1",
    ),
    "offset": (
        [
            Instruction(
                Opcode.GELU,
                rows=1,
                columns=1,
                a=scratchpad(0, DType.I16),
                b=scratchpad(2),
                c=scratchpad(4, DType.I32, pitch=4),
                d=scratchpad(64, DType.I32),
                immediates=(1, 1, -129),
            )
        ],
        r"immediate 2 \(offset\): expected -128 to 127, found -129",
    ),
    "unused immediate": (
        [rescale(immediates=(0, 1, 1, 9))],
        r"immediate 3 \(no immediate\): expected 0 to 0, found 9",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("functional", [True, False])
def test_malformed(name: str, functional: bool) -> None:
    instructions, message = MALFORMED[name]
    with pytest.raises(ProgramError, match=message):
        run(*instructions, functional=functional)


def test_wrong_machine() -> None:
    program = Program.for_target(TARGET, [fill(0, 1)], DRAM_BYTES)
    with pytest.raises(ProgramError, match="scratchpad_bytes 131072, this one has 524288"):
        Machine("edge").run(program)
    other = TARGET.model_copy(update={"array": TARGET.array.model_copy(update={"columns": 8})})
    with pytest.raises(ProgramError, match="array_columns 16, this one has 8; compile it"):
        Machine(other).run(program)
    with pytest.raises(ProgramError, match="needs 65536 bytes of dram, this machine has 4096"):
        Machine(TARGET, dram_bytes=4096).run(program)
    Machine(TARGET, dram_bytes=1 << 20).run(program)


def test_damaged_files() -> None:
    machine = Machine(TARGET, dram_bytes=DRAM_BYTES)
    data = bytearray(Program.for_target(TARGET, [fill(0, 1)], DRAM_BYTES).encode())
    machine.run(data)
    for place, message in (
        (0, "not a program file"),
        (8, "program file version"),
        (20, "the header's checksum is 0x"),
        (70, "the instructions' checksum is 0x"),
    ):
        data[place] ^= 2
        with pytest.raises(ProgramError, match=message):
            machine.run(data)
        data[place] ^= 2
    with pytest.raises(ProgramError, match="1 instructions take 320 bytes, found 319"):
        machine.run(data[:-1])
    with pytest.raises(ProgramError, match="found 0 bytes"):
        machine.run(b"")


def test_dram_transfers_are_checked() -> None:
    machine = Machine(TARGET, dram_bytes=100)
    with pytest.raises(ProgramError, match="dram has 100 bytes, found 2 bytes from address 0x63"):
        machine.write_dram(99, b"ab")
    with pytest.raises(ProgramError, match="read_dram: dram has 100 bytes"):
        machine.read_dram(0, 101)
    with pytest.raises(ProgramError, match="write_dram"):
        machine.write_dram(-1, b"a")
    with pytest.raises(ProgramError, match="write_dram"):
        machine.write_dram(0, np.zeros((4, 4), np.int8)[:, ::2])
    with pytest.raises(ProgramError, match="read_dram"):
        machine.read_dram_into(0, b"read only")
    machine.write_dram(98, b"ab")
    assert machine.read_dram(97, 3).tolist() == [0, 97, 98]
    assert machine.is_initialized(98, 2)
    assert not machine.is_initialized(97, 2)
    machine.write_dram(100, b"")


def test_impossible_machines() -> None:
    with pytest.raises(GirihError, match="no kernels named 'mmx'"):
        Machine("edge", kernels="mmx")
    with pytest.raises(GirihError, match="1 to 64 threads, found 0"):
        Machine("edge", threads=0)
    with pytest.raises(GirihError, match="has 4294967296 bytes of DRAM"):
        Machine("edge", dram_bytes=1 << 40)


def large_product() -> tuple[Machine, Program]:
    target = Target.load("edge")
    machine = Machine(target, dram_bytes=1 << 18, threads=2)
    machine.write_dram(0, np.full(1 << 18, 3, np.int8))
    product = Instruction(
        Opcode.MATMUL,
        rows=128,
        columns=256,
        depth=512,
        a=scratchpad(0, pitch=512),
        b=scratchpad(65536, pitch=256),
        c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=1024),
        wait=waits(dma_in=0),
    )
    program = Program.for_target(
        target,
        [
            bring(0, 65536 + 131072),
            product,
            Instruction(
                Opcode.RESCALE,
                rows=128,
                columns=256,
                flags=RescaleFlag.SCALAR,
                a=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=1024),
                b=scratchpad(262144, DType.I16, pitch=512),
                immediates=(0, 1, 1),
                wait=waits(matrix=0),
            ),
            store(262144, 65536, place=0, wait=waits(vector=0)),
        ],
        1 << 18,
    )
    return machine, program


def check_large_product() -> None:
    machine, program = large_product()
    machine.run(program)
    assert (machine.read_array(0, (32768,), np.int16) == (512 * 9 + 1) // 2).all()


def test_machines_in_several_threads() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                check_large_product()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    check_large_product()
    child = os.fork()
    if child == 0:
        try:
            check_large_product()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    check_large_product()
