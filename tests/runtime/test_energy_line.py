"""Energy over the price of a DRAM bit: the line, what is largest, and where two lines cross."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from girih.runtime.energy_line import EnergyLine
from girih.runtime.memory import RowCounts
from girih.runtime.simulator import Counts
from girih.runtime.target import Target

FUSED = EnergyLine({"mac": 3e-3, "scratchpad": 5e-3}, bits=1_000_000_000)
UNFUSED = EnergyLine({"mac": 3e-3, "scratchpad": 4e-3}, bits=2_000_000_000)


def test_a_run_gives_the_energy_of_its_target_at_the_target_s_price() -> None:
    counts = Counts(1, 2000, 300, 4096, 64, 4160, 500, 60, 70, 80, RowCounts(60, 3, 2))
    for name in ("edge", "small@7nm", "edge@ddr4-3200"):
        table = Target.load(name).energy
        line = EnergyLine.of(counts, table, seconds=1e-6)
        energy = counts.energy(table, 1e-6)
        assert line.joules(table.dram.value / 8) == pytest.approx(energy.total)
        assert line.breakdown(table.dram.value / 8)["dram"] == pytest.approx(energy.dram)
        assert line.joules(0) == pytest.approx(energy.total - energy.dram)


def test_lines_cross_where_both_take_the_same() -> None:
    # 8 mJ and 1 mJ per pJ/bit; 7 mJ and 2 mJ per pJ/bit.
    assert FUSED.crossover(UNFUSED) == pytest.approx(1.0)
    assert FUSED.joules(0.5) > UNFUSED.joules(0.5)
    assert FUSED.joules(2) < UNFUSED.joules(2)


def test_a_line_below_another_crosses_it_nowhere() -> None:
    better = EnergyLine({"mac": 1e-3}, bits=1_000_000_000)
    assert better.crossover(UNFUSED) is None
    assert better.crossover(EnergyLine({"mac": 2e-3}, better.bits)) is None


def test_dram_becomes_the_largest_and_then_half() -> None:
    assert FUSED.dram_largest() == pytest.approx(5.0)
    assert FUSED.dram_half() == pytest.approx(8.0)
    assert (FUSED.largest(4.9), FUSED.largest(5.1)) == ("scratchpad", "dram")
    assert EnergyLine({"mac": 1.0}, 0).dram_half() == math.inf


lines = st.builds(
    lambda mac, scratchpad, bits: EnergyLine({"mac": mac, "scratchpad": scratchpad}, bits),
    st.floats(1e-6, 1.0),
    st.floats(1e-6, 1.0),
    st.integers(1, 10**12),
)


@given(lines, lines)
def test_the_better_one_changes_at_the_crossover_alone(a: EnergyLine, b: EnergyLine) -> None:
    price = a.crossover(b)
    assert price == b.crossover(a)
    more, fewer = (a, b) if a.bits > b.bits else (b, a)
    if price is not None:
        assert a.joules(price) == pytest.approx(b.joules(price))
        assert more.joules(price / 2) <= fewer.joules(price / 2) * (1 + 1e-9)
        assert more.joules(price * 2) >= fewer.joules(price * 2) * (1 - 1e-9)
