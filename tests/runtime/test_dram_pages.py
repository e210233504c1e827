"""Open pages: cycles and counts by hand from docs/isa.md, and random programs burst by burst."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dram_meaning import DramMeaning, Transfer
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.runtime.program import (
    NO_WAIT,
    DType,
    Instruction,
    Opcode,
    Operand,
    Program,
    Space,
    TransferFlag,
    waits,
)
from girih.runtime.simulator import Machine, RowCounts, SimulationResult
from girih.runtime.target import Target

pytestmark = pytest.mark.simulator

DRAM_BYTES = 1 << 20

PAGES: dict[str, Any] = {
    "page_bytes": 256,
    "banks": 4,
    "activate_nanoseconds": 20,
    "precharge_nanoseconds": 30,
    "row_cycle_nanoseconds": 100,
    "activate_gap_nanoseconds": 5,
    "refresh_interval_nanoseconds": 1e9,
    "refresh_nanoseconds": 200,
    "source": "round numbers",
}


def make_target(
    pages: dict[str, Any], bandwidth: int = 2_000_000_000, burst: int = 32, **fields: Any
) -> Target:
    """2 bytes a cycle in bursts of 32, no overhead, latency 100, unless said otherwise."""
    values = Target.load("small").model_dump()
    values["dram"] |= {
        "bandwidth_bytes_per_second": bandwidth,
        "latency_cycles": 100,
        "burst_bytes": burst,
        "overhead_cycles": 0,
        "pages": PAGES | pages,
    }
    values["energy"]["activate"] = {"value": 1000, "unit": "pJ/activate", "source": "a test"}
    return Target.model_validate(values | fields)


def load(address: int, rows: int, row_bytes: int, pitch: int = 0, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.DMA_IN,
        rows=rows,
        columns=row_bytes,
        a=Operand(Space.DRAM, address, pitch=pitch or row_bytes),
        b=Operand(Space.SCRATCHPAD, 0, pitch=row_bytes),
        **fields,
    )


def store(address: int, rows: int, row_bytes: int, pitch: int = 0, **fields: Any) -> Instruction:
    return Instruction(
        Opcode.DMA_OUT,
        rows=rows,
        columns=row_bytes,
        a=Operand(Space.SCRATCHPAD, 0, pitch=row_bytes),
        b=Operand(Space.DRAM, address, pitch=pitch or row_bytes),
        **fields,
    )


def run(*instructions: Instruction, functional: bool = True, **pages: Any) -> SimulationResult:
    target = make_target(pages)
    machine = Machine(target, dram_bytes=DRAM_BYTES)
    program = Program.for_target(target, instructions, DRAM_BYTES)
    alone = machine.run(program, functional=False, timeline=True)
    if functional:
        machine.write_dram(0, np.zeros(DRAM_BYTES, np.uint8))
        assert machine.run(program).tags == alone.tags
    return alone


def spans(result: SimulationResult) -> list[tuple[int, int]]:
    assert result.timeline is not None
    return list(zip(result.timeline.start.tolist(), result.timeline.end.tolist(), strict=True))


def test_the_first_page_is_waited_for_and_the_next_ones_open_meanwhile() -> None:
    # 1024 bytes are 512 cycles; 20 ns for the first activate. Each page takes 128 cycles, in which
    # the next bank's activate is long over.
    result = run(load(0, 1, 1024))
    assert spans(result) == [(0, 532)]
    assert result.counts.rows == RowCounts(hits=28, misses=4, stall_cycles=20)
    assert result.cycles == 632


def test_a_page_that_is_open_costs_nothing() -> None:
    result = run(load(0, 1, 64), load(64, 1, 64))
    assert spans(result) == [(0, 52), (52, 84)]
    assert result.counts.rows == RowCounts(hits=3, misses=1, stall_cycles=20)


def test_the_first_page_opens_while_the_transfer_is_set_up() -> None:
    # 15 cycles of overhead hide as many of the activate's 20; a conflict's 50 wait for 35 more.
    target = make_target({})
    target = target.model_copy(
        update={"dram": target.dram.model_copy(update={"overhead_cycles": 15})}
    )
    machine = Machine(target, dram_bytes=DRAM_BYTES)
    code = [load(0, 1, 64), load(1024, 1, 64)]
    program = Program.for_target(target, code, DRAM_BYTES)
    found = machine.run(program, functional=False, timeline=True)
    assert spans(found) == [(0, 20 + 32), (52, 52 + 50 + 32)]
    assert found.counts.rows == RowCounts(2, 1, 1, stall_cycles=5 + 35)


def test_another_page_of_the_bank_is_closed_first() -> None:
    # Page 4 lies in bank 0, as page 0 does: 30 + 20 before its 32 cycles. Page 5 is in bank 1.
    result = run(load(0, 1, 64), load(4 * 256, 1, 64), load(5 * 256, 1, 64))
    assert spans(result) == [(0, 52), (52, 134), (134, 186)]
    assert result.counts.rows == RowCounts(hits=3, misses=2, conflicts=1, stall_cycles=90)


def test_rows_in_one_bank_wait_for_its_row_cycle() -> None:
    # Four pages of bank 0, a burst of each. The first activate at 0; a precharge could follow at 36
    # and the activate at 66, but 100 ns must lie between two of them: 100, 200, 300.
    result = run(load(0, 4, 32, pitch=1024))
    assert spans(result) == [(0, 300 + 20 + 16)]
    assert result.counts.rows == RowCounts(misses=1, conflicts=3, stall_cycles=336 - 64)


def test_rows_in_different_banks_wait_for_the_gap_alone() -> None:
    # Activates at 0, 5, 10, 15; data from 20 on, 16 cycles each, with no wait between.
    assert spans(run(load(0, 4, 32, pitch=256))) == [(0, 20 + 64)]
    # With a gap of 25, each burst waits 9 cycles for its row.
    assert spans(run(load(0, 4, 32, pitch=256), activate_gap_nanoseconds=25)) == [(0, 95 + 16)]


def test_bursts_are_those_that_a_row_touches() -> None:
    # 64 bytes from byte 16 on lie in three bursts of 32; two rows of 16 share a page.
    result = run(load(16, 1, 64))
    assert result.counts.dram_bus_bytes == 96
    assert result.counts.dram_read_bytes == 64
    assert spans(result) == [(0, 20 + 48)]
    rows = run(load(0, 2, 16, pitch=32))
    assert rows.counts.rows == RowCounts(hits=1, misses=1, stall_cycles=20)


def test_windows_that_overlap_find_both_pages_open() -> None:
    # Rows 224 .. 287 and 240 .. 303: pages 0, 1, 0, 1, of which the last two are open.
    result = run(load(224, 2, 64, pitch=16))
    assert result.counts.rows.misses == 2
    assert result.counts.rows.hits == 3


def test_a_refresh_takes_the_bus_and_closes_the_pages() -> None:
    # 256 bytes: 20 + 128 cycles, refresh at 100 for 40 cycles, then 20 to open the page again.
    every = {"refresh_interval_nanoseconds": 100, "refresh_nanoseconds": 40}
    # 100 cycles, of the 48 left and 20 more 60 to the next refresh at 200, 8 + 20 after it.
    result = run(load(0, 1, 256), **every)
    assert spans(result) == [(0, 268)]
    assert result.counts.rows == RowCounts(
        hits=7, misses=3, stall_cycles=20 + 2 * 20, refresh_cycles=80
    )
    # What the first left open in bank 1 is closed by the refresh at 100: a miss, and no conflict.
    apart = run(load(256, 1, 32), load(512, 1, 128), load(5 * 256, 1, 32), **every)
    assert spans(apart) == [(0, 36), (36, 180), (180, 200 + 40 + 20 + 16)]
    assert apart.counts.rows.conflicts == 0
    # Bank 2's page was in use: it is open again, and another one meets it.
    met = run(load(256, 1, 32), load(512, 1, 128), load(6 * 256, 1, 32), **every)
    assert met.counts.rows.conflicts == 1


def test_a_transfer_that_comes_in_a_refresh_waits_for_its_end() -> None:
    fill = Instruction(
        Opcode.FILL, rows=1, columns=16 * 100, a=Operand(Space.SCRATCHPAD, 4096, DType.I8)
    )
    waiting = load(0, 1, 32, wait=waits(vector=0))  # from 112 on: latency 12 of the vector engine
    result = run(fill, waiting, refresh_interval_nanoseconds=100, refresh_nanoseconds=40)
    assert spans(result)[1] == (112, 140 + 36)
    assert result.counts.rows == RowCounts(misses=1, stall_cycles=20, refresh_cycles=28)


def test_an_indexed_transfer_has_the_pages_of_index_zero() -> None:
    indexed = load(
        0,
        1,
        64,
        flags=int(TransferFlag.INDEXED),
        c=Operand(Space.DRAM, 4096, DType.I32),
        immediates=(1024, 4),
    )
    target = make_target({})
    machine = Machine(target, dram_bytes=DRAM_BYTES)
    program = Program.for_target(target, [indexed, load(0, 1, 64)], DRAM_BYTES)
    machine.write_dram(0, np.zeros(DRAM_BYTES, np.uint8))
    machine.write_dram(4096, np.array([3], "<i4"))
    found = machine.run(program)
    assert found.tags == machine.run(program, functional=False).tags
    assert found.counts.rows == RowCounts(hits=3, misses=1, stall_cycles=20)
    assert found.counts.dram_bus_bytes == 64 + 32 + 64  # the index is a burst


def test_activates_cost_energy() -> None:
    result = run(load(0, 1, 1024))
    assert result.energy.activate == pytest.approx(4 * 1000e-12)
    assert result.energy.total == pytest.approx(
        result.energy.dram + result.energy.activate + result.energy.scratchpad
    )


transfers = st.builds(
    lambda out, address, rows, row_bytes, extra, wait: (store if out else load)(
        address,
        rows,
        row_bytes,
        pitch=row_bytes + extra,
        wait=waits(dma_in=wait) if out else waits(dma_out=wait),
    ),
    st.booleans(),
    st.integers(0, 20_000),
    st.integers(1, 9),
    st.integers(1, 300),
    st.sampled_from([0, 0, 1, 60, 400, 2048]),
    st.sampled_from([NO_WAIT, 0, 1]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(transfers, min_size=1, max_size=12),
    st.fixed_dictionaries(
        {
            "page_bytes": st.sampled_from([64, 128, 512, 1024]),
            "banks": st.sampled_from([1, 2, 4, 8]),
            "activate_nanoseconds": st.sampled_from([0, 3, 13.75, 40]),
            "precharge_nanoseconds": st.sampled_from([0, 7.3, 30]),
            "row_cycle_nanoseconds": st.sampled_from([0, 46.25, 130]),
            "activate_gap_nanoseconds": st.sampled_from([0, 5.3125, 31]),
            "refresh_interval_nanoseconds": st.sampled_from([150, 777.7, 1e6]),
            "refresh_nanoseconds": st.sampled_from([1, 50, 61.5]),
        }
    ),
    st.sampled_from([1_000_000_000, 2_900_000_000, 12_800_000_000]),
    st.sampled_from([16, 32, 64]),
    st.integers(0, 40),
)
def test_random_programs_burst_by_burst(
    instructions: list[Instruction],
    pages: dict[str, Any],
    bandwidth: int,
    burst: int,
    overhead: int,
) -> None:
    target = make_target(pages, bandwidth, burst)
    dram = target.dram.model_copy(update={"overhead_cycles": overhead})
    target = target.model_copy(update={"dram": dram})
    tagged = [replace(each, tag=number) for number, each in enumerate(instructions)]
    machine = Machine(target, dram_bytes=DRAM_BYTES)
    program = Program.for_target(target, tagged, DRAM_BYTES)
    found = machine.run(program, functional=False, timeline=True)
    meaning = DramMeaning(target)
    done: list[list[int]] = [[], []]
    expected: list[tuple[int, int]] = []
    for number, instruction in enumerate(instructions):
        engine = int(instruction.engine)
        side = instruction.b if engine else instruction.a
        assert side is not None
        distance = instruction.wait[1 - engine]
        others = done[1 - engine]
        seen = others[: len(others) - distance] if distance < len(others) else []
        start, end, counts, moved = meaning.run(
            Transfer(
                engine, side.base, instruction.rows, instruction.columns, side.pitch,
                ready=max(seen, default=0),
            )
        )  # fmt: skip
        done[engine].append(end + target.dram.latency_cycles)
        expected.append((start, end))
        assert found.tags[number].counts.rows == counts
        assert found.tags[number].counts.dram_bus_bytes == moved
    assert spans(found) == expected
