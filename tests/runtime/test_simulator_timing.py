"""Cycles of small programs, worked out by hand from docs/isa.md, Timing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from girih.runtime.program import (
    DType,
    Engine,
    Instruction,
    LayerNormFlag,
    MatmulFlag,
    Opcode,
    Operand,
    Program,
    RescaleFlag,
    Space,
    TransferFlag,
    waits,
)
from girih.runtime.simulator import Machine, SimulationResult
from girih.runtime.target import Target

pytestmark = pytest.mark.simulator

DRAM_BYTES = 1 << 16

# Round numbers: an array of 8 x 4, 16 lanes, 2 bytes a cycle in bursts of 32, 10 cycles overhead.
TARGET = Target.from_yaml(Target.load("small").to_yaml()).model_copy(
    update={
        "array": Target.load("small").array.model_copy(update={"rows": 8, "columns": 4}),
        "vector": Target.load("small").vector.model_copy(update={"lanes": 16, "latency_cycles": 7}),
        "dram": Target.load("small").dram.model_copy(
            update={
                "bandwidth_bytes_per_second": 2_000_000_000,
                "latency_cycles": 100,
                "burst_bytes": 32,
                "overhead_cycles": 10,
            }
        ),
    }
)


def scratchpad(address: int, dtype: DType = DType.I8, pitch: int = 0) -> Operand:
    return Operand(Space.SCRATCHPAD, address, dtype, pitch=pitch)


def bring(address: int, rows: int, columns: int, pitch: int = 0, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.DMA_IN,
        rows=rows,
        columns=columns,
        a=Operand(Space.DRAM, 0, pitch=pitch or columns),
        b=scratchpad(address, pitch=columns),
        **fields,
    )


def store(address: int, columns: int, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.DMA_OUT,
        rows=1,
        columns=columns,
        a=scratchpad(address),
        b=Operand(Space.DRAM, 32768),
        **fields,
    )


def matmul(rows: int, columns: int, depth: int, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.MATMUL,
        rows=rows,
        columns=columns,
        depth=depth,
        a=scratchpad(0, pitch=depth),
        b=scratchpad(4096, pitch=columns),
        c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=columns * 4),
        **fields,
    )


def run(*instructions: Instruction, target: Target = TARGET) -> SimulationResult:
    """Runs with data and without; both must give the same times."""
    machine = Machine(target, dram_bytes=DRAM_BYTES)
    machine.write_dram(0, np.ones(DRAM_BYTES, np.uint8))
    program = Program.for_target(target, instructions, DRAM_BYTES)
    functional = machine.run(program, timeline=True)
    alone = machine.run(program, functional=False, timeline=True)
    assert functional.timeline is not None
    assert alone.timeline is not None
    for field in ("engine", "opcode", "tag", "start", "end", "completion", "instruction"):
        np.testing.assert_array_equal(
            getattr(functional.timeline, field), getattr(alone.timeline, field)
        )
    assert replace(functional, timeline=None) == replace(alone, timeline=None)
    return functional


def times(result: SimulationResult) -> list[tuple[int, int, int]]:
    assert result.timeline is not None
    timeline = result.timeline
    return list(
        zip(
            timeline.start.tolist(),
            timeline.end.tolist(),
            timeline.completion.tolist(),
            strict=True,
        )
    )


def test_transfer_of_contiguous_bytes() -> None:
    # 100 bytes are 4 bursts of 32: 128 / 2 = 64 cycles, + 10; + 100 latency.
    result = run(bring(0, 1, 100))
    assert times(result) == [(0, 74, 174)]
    assert result.cycles == 174
    counts = result.counts
    assert (counts.dram_read_bytes, counts.dram_write_bytes, counts.dram_bus_bytes) == (100, 0, 128)
    assert (counts.scratchpad_write_bytes, counts.scratchpad_read_bytes) == (100, 0)


def test_transfer_of_rows() -> None:
    # Contiguous rows are one row: 4 x 25 = 100 bytes. Apart, each row is rounded up to 32.
    assert times(run(bring(0, 4, 25))) == [(0, 74, 174)]
    assert times(run(bring(0, 4, 25, pitch=50))) == [(0, 74, 174)]
    assert times(run(bring(0, 4, 33, pitch=50))) == [(0, 138, 238)]


def test_transfers_are_pipelined_and_fractions_round_up() -> None:
    # 3 bytes a cycle: 32 / 3 = 10.67 -> 11, + 10.
    dram = TARGET.dram.model_copy(update={"bandwidth_bytes_per_second": 3_000_000_000})
    target = TARGET.model_copy(update={"dram": dram})
    result = run(bring(0, 1, 32), bring(64, 1, 32), target=target)
    assert times(result) == [(0, 21, 121), (21, 42, 142)]


def test_indexed_transfer_reads_its_index_first() -> None:
    indexed = replace(
        bring(0, 1, 32),
        flags=int(TransferFlag.INDEXED),
        c=Operand(Space.DRAM, 1024, DType.I32),
        immediates=(0, 1 << 30),
    )
    result = run(indexed)
    assert times(result) == [(0, 126, 226)]  # 100 for the index, 16 + 10 on the bus, 100 latency
    assert result.counts.dram_read_bytes == 36
    assert result.counts.dram_bus_bytes == 64


def test_matmul_weight_stationary() -> None:
    # ceil(20 / 8) * ceil(6 / 4) * max(5, 8) = 3 * 2 * 8 = 48, fill 8, drain 8 + 4 - 2 = 10.
    setup = [bring(0, 1, 100), bring(4096, 1, 120)]
    result = run(*setup, matmul(5, 6, 20, wait=waits(dma_in=0)))
    start = 74 + 74 + 100
    assert times(result)[2] == (start, start + 56, start + 66)
    assert result.busy_cycles[Engine.MATRIX] == 56
    assert result.macs == 600
    counts = result.counts
    assert counts.scratchpad_read_bytes == 5 * 20 * 2 + 20 * 6
    assert counts.accumulator_write_bytes == 3 * 5 * 6 * 4
    assert counts.accumulator_read_bytes == 2 * 5 * 6 * 4


def test_matmul_output_stationary() -> None:
    # ceil(20 / 8) * ceil(6 / 4) * max(10, 8) = 3 * 2 * 10 = 60, fill 8, drain 10.
    setup = [bring(0, 1, 200), bring(4096, 1, 120)]
    flags = MatmulFlag.OUTPUT_STATIONARY
    result = run(*setup, matmul(20, 6, 10, wait=waits(dma_in=0), flags=flags))
    start = (112 + 10) + (64 + 10) + 100
    assert times(result)[2] == (start, start + 68, start + 78)
    counts = result.counts
    assert counts.scratchpad_read_bytes == 20 * 10 * 2 + 10 * 6 * 3
    assert counts.accumulator_write_bytes == 20 * 6 * 4
    assert counts.accumulator_read_bytes == 0


def test_matmuls_without_a_gap_hide_the_fill() -> None:
    setup = [bring(0, 1, 100), bring(4096, 1, 120)]
    product = matmul(8, 4, 8, wait=waits(dma_in=0))  # occupancy 8
    late = bring(8192, 1, 32)
    result = run(*setup, product, product, late, product)
    first, second = times(result)[2], times(result)[3]
    assert first == (248, 264, 274)
    assert second == (264, 272, 282)
    # The last waits for the third transfer, done at 148 + 26 + 100 = 274: no gap of the engine.
    assert times(result)[4] == (148, 174, 274)
    assert times(result)[5] == (274, 290, 300)  # 274 > 272: the engine was idle, fill again


def test_vector_costs() -> None:
    # 5 x 10 elements in 16 lanes: 4 steps.
    fill = Instruction(Opcode.FILL, rows=5, columns=10, a=scratchpad(0, DType.I16, 20))
    place = scratchpad(0, DType.I16, 20)
    add = Instruction(
        Opcode.ADD, rows=5, columns=10, a=place, b=place, c=place, immediates=(1, 1, 1)
    )
    out = scratchpad(4096, DType.I8, 10)
    parameters = Instruction(
        Opcode.FILL, rows=2, columns=10, a=scratchpad(8192, DType.I32, 40), immediates=(1,)
    )
    norm = Instruction(
        Opcode.LAYER_NORM,
        rows=5,
        columns=10,
        a=place,
        b=out,
        c=scratchpad(8192, DType.I32, 40),
        immediates=(1, 1),
    )
    multiply = Instruction(
        Opcode.MULTIPLY, rows=5, columns=10, a=place, b=place, c=place, immediates=(1, 1)
    )
    rms_norm = replace(norm, flags=LayerNormFlag.UNCENTERED)
    result = run(fill, add, parameters, norm, multiply, rms_norm)
    # fill 4 x 1; add 4 x 2; fill 2; layer_norm 4 x 4 + ceil(5 x 32 / 16) = 26; multiply 4 x 2;
    # layer_norm again. Latency 7.
    assert times(result) == [
        (0, 4, 11),
        (4, 12, 19),
        (12, 14, 21),
        (14, 40, 47),
        (40, 48, 55),
        (48, 74, 81),
    ]
    assert result.busy_cycles[Engine.VECTOR] == 74
    assert result.counts.vector_operations == 50 + 100 + 20 + 2 * (200 + 160) + 100
    assert result.counts.scratchpad_read_bytes == 4 * 100 + 2 * 100 + 80 + 40


def test_costs_can_be_overridden() -> None:
    costs = TARGET.vector.costs.model_copy(update={"fill": 9})
    target = TARGET.model_copy(update={"vector": TARGET.vector.model_copy(update={"costs": costs})})
    fill = Instruction(Opcode.FILL, rows=5, columns=10, a=scratchpad(0, DType.I16, 20))
    assert times(run(fill, target=target)) == [(0, 36, 43)]


def test_the_bus_is_shared() -> None:
    # The store is ready at 7 + 1 and comes first in the program; the load then finds the bus taken.
    fill = Instruction(Opcode.FILL, rows=1, columns=16, a=scratchpad(0))
    result = run(fill, store(0, 16, wait=waits(vector=0)), bring(64, 1, 64))
    assert times(result) == [
        (0, 1, 8),
        (8, 34, 134),  # 16 + 10 cycles of the bus
        (0, 68, 168),  # 32 + 10 = 42: cycles 0 to 8, and 34 to 68
    ]
    assert result.busy_cycles[Engine.DMA_IN] == 42


def test_a_late_store_leaves_the_bus_to_loads_that_follow_it() -> None:
    setup = [bring(0, 1, 100), bring(4096, 1, 120)]
    product = matmul(8, 4, 8, wait=waits(dma_in=0))
    rescale = Instruction(
        Opcode.RESCALE,
        rows=8,
        columns=4,
        flags=RescaleFlag.SCALAR,
        a=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=16),
        b=scratchpad(8192, DType.I8, 4),
        immediates=(0, 1, 1),
        wait=waits(matrix=0),
    )
    result = run(*setup, product, rescale, store(8192, 32, wait=waits(vector=0)), bring(64, 1, 32))
    stored, loaded = times(result)[4], times(result)[5]
    assert stored == (274 + 2 + 7, 274 + 2 + 7 + 26, 274 + 2 + 7 + 126)
    assert loaded == (148, 174, 274)


def test_waits_in_loops_and_double_buffering() -> None:
    """A transfer may run two buffers ahead of the fill that overwrites what it brought."""
    ring = Operand(Space.SCRATCHPAD, 0, pitch=64, slots=2, slot_bytes=64, ring=(1, 0, 0, 0))
    load = Instruction(
        Opcode.DMA_IN,
        rows=1,
        columns=32,
        a=Operand(Space.DRAM, 0),
        b=ring,
        wait=waits(vector=1),
    )
    use = Instruction(Opcode.FILL, rows=1, columns=16 * 100, a=scratchpad(4096))
    touch = Instruction(Opcode.FILL, rows=1, columns=32, a=ring, wait=waits(dma_in=0))
    loop = [Instruction(Opcode.LOOP, rows=3), load, touch, Instruction(Opcode.END)]
    result = run(*loop)
    # Loads take 26 and complete 100 later; fills take 2 and complete 7 later.
    assert times(result) == [
        (0, 26, 126),
        (126, 128, 135),
        (26, 52, 152),  # waits for all fills but the last one: none
        (152, 154, 161),
        (135, 161, 261),  # waits for the first fill
        (261, 263, 270),
    ]
    assert result.timeline is not None
    assert result.timeline.instruction.tolist() == [1, 2, 1, 2, 1, 2]
    assert result.timeline.opcode_name(1) == "fill"
    assert run(use).cycles == 107


def test_statistics_by_tag() -> None:
    setup = [bring(0, 1, 100, tag=7), bring(4096, 1, 120, tag=7)]
    result = run(*setup, matmul(5, 6, 20, wait=waits(dma_in=0), tag=2))
    assert sorted(result.tags) == [2, 7]
    transfer, product = result.tags[7], result.tags[2]
    assert (transfer.start_cycle, transfer.end_cycle) == (0, 248)
    assert (product.start_cycle, product.end_cycle) == (248, 314)
    assert transfer.counts.instructions == 2
    assert transfer.bound_by is Engine.DMA_IN
    assert product.bound_by is Engine.MATRIX
    assert product.counts.macs == 600
    assert result.counts.dram_read_bytes == 220
    assert result.utilization == 600 / (314 * 32)
    energy = result.energy
    table = TARGET.energy
    assert energy.mac == pytest.approx(600 * table.mac.value * 1e-12)
    assert energy.dram == pytest.approx((128 + 128) * table.dram.value * 1e-12)
    assert result.energy_joules == pytest.approx(
        energy.mac + energy.dram + energy.scratchpad + energy.accumulator
    )
    assert result.seconds == 314e-9


def test_an_empty_program_takes_no_time() -> None:
    result = run()
    assert (result.cycles, result.utilization, result.energy_joules) == (0, 0.0, 0.0)


def test_timing_alone_needs_no_data_and_no_memory() -> None:
    target = Target.load("cloud")
    machine = Machine(target)
    load = Instruction(
        Opcode.DMA_IN,
        rows=1,
        columns=1 << 20,
        a=Operand(Space.DRAM, target.dram.capacity_bytes - (1 << 20)),
        b=scratchpad(0),
    )
    program = Program.for_target(target, [load], target.dram.capacity_bytes)
    assert machine.run(program, functional=False).dram_read_bytes == 1 << 20
