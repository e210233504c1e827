"""Waits that the native core finds: by hand, and against the rule written down plainly."""

from __future__ import annotations

import random

import pytest

from girih.runtime.errors import ProgramError
from girih.runtime.program import (
    NO_WAIT,
    DType,
    Instruction,
    Opcode,
    Operand,
    Program,
    Space,
)
from girih.runtime.simulator import LoadedProgram, Machine
from girih.runtime.target import Target

pytestmark = pytest.mark.simulator

TARGET = Target.load("small")
BYTES = 4096


def place(space: Space, address: int, columns: int, **ring: int) -> Operand:
    fields: dict[str, tuple[int, int, int, int] | int] = {}
    if "stride" in ring:
        fields["stride"] = (ring["stride"], 0, 0, 0)
    if "slots" in ring:
        fields |= {"slots": ring["slots"], "slot_bytes": ring["slot_bytes"], "ring": (1, 0, 0, 0)}
    return Operand(space, address, DType.I8, pitch=columns, **fields)  # type: ignore[arg-type]


def bring(address: int, size: int = 64, source: int = 0, **ring: int) -> Instruction:
    return Instruction(
        Opcode.DMA_IN,
        rows=1,
        columns=size,
        a=place(Space.DRAM, source, size),
        b=place(Space.SCRATCHPAD, address, size, **ring),
    )


def send(address: int, target: int, size: int = 64, **ring: int) -> Instruction:
    return Instruction(
        Opcode.DMA_OUT,
        rows=1,
        columns=size,
        a=place(Space.SCRATCHPAD, address, size, **ring),
        b=place(Space.DRAM, target, size),
    )


def fill(address: int, size: int = 64, **ring: int) -> Instruction:
    return Instruction(
        Opcode.FILL, rows=1, columns=size, a=place(Space.SCRATCHPAD, address, size, **ring)
    )


def found(*code: Instruction) -> list[tuple[int, ...]]:
    program = Program.for_target(TARGET, code, dram_bytes=BYTES)
    return [tuple(int(each) for each in row) for row in LoadedProgram(program).wait_distances()]


N = NO_WAIT


def test_a_reader_waits_for_its_writer() -> None:
    assert found(fill(0), fill(64), send(0, 0))[2] == (N, N, N, 1)
    assert found(fill(0), fill(64), send(64, 0))[2] == (N, N, N, 0)


def test_a_writer_waits_for_readers_and_other_writers() -> None:
    assert found(fill(0), send(0, 0), bring(0))[2] == (N, 0, N, 0)
    # Of the fill, the store already waits: nothing more is needed.
    assert found(fill(0), bring(0))[1] == (N, N, N, 0)


def test_what_nothing_writes_needs_no_wait() -> None:
    assert found(bring(0), bring(64))[1] == (N, N, N, N)
    # Of DRAM, only what a store may have written.
    assert found(fill(0), send(0, 256), bring(128, source=256))[2] == (N, 0, N, N)
    assert found(fill(0), send(0, 256), bring(128, source=512))[2] == (N, N, N, N)


def test_a_loop_has_the_shortest_distance_of_its_iterations() -> None:
    loop, end = Instruction(Opcode.LOOP, rows=6), Instruction(Opcode.END)
    ring = {"slots": 2, "slot_bytes": 64}
    waits = found(loop, bring(0, **ring), send(0, 1024, **ring), end)
    # Two slots: the load of an iteration runs one store ahead.
    assert waits[1] == (N, 1, N, N)
    assert waits[2] == (0, N, N, N)


@pytest.mark.parametrize("seed", range(60))
def test_the_machine_accepts_any_program_with_these_waits(seed: int) -> None:
    """Its check for hazards knows nothing of how the waits were found."""
    dice = random.Random(seed)
    code: list[Instruction] = [fill(0, 2048)]
    for _ in range(dice.randint(3, 30)):
        size = dice.choice([16, 48, 64, 200])
        address, other = dice.randrange(0, 1024, 8), dice.randrange(0, 2048, 8)
        code.append(
            dice.choice(
                [fill(address, size), bring(address, size, other), send(address, other, size)]
            )
        )
    loaded = LoadedProgram(Program.for_target(TARGET, code, dram_bytes=BYTES))
    machine = Machine(TARGET, dram_bytes=BYTES)
    machine.write_dram(0, bytes(BYTES))
    with pytest.raises(ProgramError, match="hazard"):
        machine.run(LoadedProgram(Program.for_target(TARGET, code, dram_bytes=BYTES)))
    loaded.synchronize()
    machine.run(loaded)
