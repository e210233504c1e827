"""Waits: enough of them (the simulator proves it), and none too many where that is known."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.passes.base import Compilation
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.runtime.errors import GirihError, ProgramError
from girih.runtime.program import ENGINE_OF, NO_WAIT, Engine, Program
from girih.runtime.target import Target

NOTHING = (NO_WAIT,) * 4


def linear(graph: Any, rows: int = 200, width: int = 64) -> Any:
    g = graph([np.ones((rows, width), np.int8)])
    g.finish(g.linear(g.arguments[0], width))
    return g


def run(compiled: Any, instructions: list[Any]) -> Any:
    """The machine on other instructions, after a run that placed weights and inputs."""
    program = Program.decode(compiled.kernel.program).with_instructions(instructions)
    return compiled.machine.run(program)


def test_without_waits_the_machine_refuses(graph: Any) -> None:
    compiled = linear(graph).compile(Target.load("small"))
    compiled.run()
    program = Program.decode(compiled.kernel.program)
    with pytest.raises(ProgramError):
        run(compiled, [replace(each, wait=NOTHING) for each in program.instructions])


def test_data_waits_cannot_be_dropped(graph: Any) -> None:
    """Without the wait for what it reads, a product, a rescale or a store is refused."""
    compiled = linear(graph).compile(Target.load("small"))
    compiled.run()
    program = Program.decode(compiled.kernel.program)
    refused: set[Engine] = set()
    for index, instruction in enumerate(program.instructions):
        if instruction.wait != NOTHING:
            changed = list(program.instructions)
            changed[index] = replace(instruction, wait=NOTHING)
            try:
                run(compiled, changed)
            except ProgramError:
                refused.add(instruction.engine)
    assert {Engine.MATRIX, Engine.VECTOR, Engine.DMA_OUT} <= refused


def test_no_instruction_waits_for_its_own_engine(graph: Any, hand_changed: Target) -> None:
    compiled = linear(graph).compile(hand_changed)
    for instruction in Program.decode(compiled.kernel.program).instructions:
        engine = ENGINE_OF[instruction.opcode]
        assert engine is Engine.NONE or instruction.wait[engine] == NO_WAIT


def test_double_buffers_overlap_transfers_with_products(graph: Any) -> None:
    """Alone in its program, a layer takes hardly longer than its busiest engine."""
    compiled = linear(graph, rows=2000, width=256).compile(Target.load("edge"))
    _, statistics = compiled.run()
    assert statistics.cycles < 1.15 * max(statistics.busy_cycles.values())


def test_needs_addresses(graph: Any) -> None:
    g = linear(graph)
    compilation = Compilation(parameters=g.parameters, target=Target.load("small"))
    with g.context, ir.Location.unknown():
        Tile().run(g.module, compilation)
        with pytest.raises(GirihError, match="run allocate before it"):
            Synchronize().run(g.module, compilation)


def test_time_grows_linearly_with_executed_instructions(graph: Any, make_target: Any) -> None:
    """Tens of thousands of executed instructions take about a second or two."""
    target = make_target(array=(4, 4), scratchpad_bytes=2048, accumulator_bytes=512)
    g = linear(graph, rows=2500, width=128)
    start = time.perf_counter()
    compiled = g.compile(target)
    seconds = time.perf_counter() - start
    result = compiled.machine.run(compiled.kernel.program, functional=False, timeline=True)
    assert result.timeline is not None
    assert len(result.timeline) > 10_000
    assert seconds < 1 + len(result.timeline) * 300e-6
