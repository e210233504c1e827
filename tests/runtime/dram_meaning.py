"""What open pages cost, burst by burst and cycle by cycle: docs/isa.md written down once more.

Slow and simple on purpose; shares nothing with the simulator's core, not even the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from girih.runtime.simulator import RowCounts
from girih.runtime.target import Target


@dataclass(frozen=True)
class Transfer:
    """Rows of DRAM for one of the two engines (0 in, 1 out), not before the cycle `ready`."""

    engine: int
    address: int
    rows: int
    row_bytes: int
    pitch: int
    ready: int = 0


@dataclass
class Bank:
    page: int | None = None
    refreshes: int = 0


@dataclass
class DramMeaning:
    """The bus and the banks; transfers come in program order."""

    target: Target
    taken: set[int] = field(default_factory=set[int])
    free: list[int] = field(default_factory=lambda: [0, 0])
    banks: dict[int, Bank] = field(default_factory=dict[int, Bank])

    def run(self, transfer: Transfer) -> tuple[int, int, RowCounts, int]:
        """Start, end, counts and bytes of the bus of a transfer."""
        dram, pages = self.target.dram, self.target.dram.pages
        assert pages is not None
        interval = math.floor(self.cycles(pages.refresh_interval_nanoseconds))
        window = math.ceil(self.cycles(pages.refresh_nanoseconds))
        reopen = math.ceil(self.cycles(pages.activate_nanoseconds))
        start = cycle = max(self.free[transfer.engine], transfer.ready)
        remaining: int | None = None
        first = waited = reopened = 0
        counts, bus_bytes, last = RowCounts(), 0, 0
        inside = False
        while remaining != 0:
            refreshing = cycle >= interval and cycle % interval < window
            if refreshing:
                waited += 1
                if remaining is not None and not inside:
                    remaining += reopen
                    reopened += 1
            elif cycle not in self.taken:
                if remaining is None:
                    first = cycle
                    counts, remaining, bus_bytes, last = self.walk(transfer, cycle // interval)
                self.taken.add(cycle)
                remaining -= 1
            inside = refreshing
            cycle += 1
        if (cycle - 1) // interval != first // interval:
            self.banks = {last % pages.banks: Bank(last, (cycle - 1) // interval)}
        self.free[transfer.engine] = cycle
        total = RowCounts(
            hits=counts.hits,
            misses=counts.misses + reopened,
            conflicts=counts.conflicts,
            stall_cycles=counts.stall_cycles + reopened * reopen,
            refresh_cycles=waited,
        )
        assert dram.burst_bytes * (counts.hits + counts.activates) == bus_bytes
        return start, cycle, total, bus_bytes

    def walk(self, transfer: Transfer, refreshes: int) -> tuple[RowCounts, int, int, int]:
        """Counts, cycles of the bus, its bytes and the last page, without refresh."""
        dram, pages = self.target.dram, self.target.dram.pages
        assert pages is not None
        # Time begins with the overhead, in which pages may open already.
        ahead = math.floor(
            Fraction(
                dram.overhead_cycles * dram.bandwidth_bytes_per_second, self.target.frequency_hz
            )
        )
        now = ahead
        hits = misses = conflicts = page = bursts = 0
        opened: list[tuple[int, int]] = []  # time and bank of each activate
        used: dict[int, int] = {}  # end of each bank's last burst
        for burst in self.bursts(transfer):
            bursts += 1
            page = burst * dram.burst_bytes // pages.page_bytes
            number = page % pages.banks
            bank = self.banks.setdefault(number, Bank())
            if number not in used:
                if bank.refreshes < refreshes:
                    bank.page = None
                bank.refreshes = refreshes
            if bank.page == page:
                hits += 1
            else:
                allowed = [used.get(number, 0)]
                if bank.page is None:
                    misses += 1
                else:
                    conflicts += 1
                    allowed[0] += self.bus_bytes(pages.precharge_nanoseconds)
                for time, other in opened:
                    allowed.append(time + self.bus_bytes(pages.activate_gap_nanoseconds))
                    if other == number:
                        allowed.append(time + self.bus_bytes(pages.row_cycle_nanoseconds))
                opened.append((max(allowed), number))
                bank.page = page
                now = max(now, max(allowed) + self.bus_bytes(pages.activate_nanoseconds))
            now += dram.burst_bytes
            used[number] = now
        moved = bursts * dram.burst_bytes
        cycles = self.bus_cycles(now - ahead)
        stalls = cycles - self.bus_cycles(moved)
        counts = RowCounts(hits, misses, conflicts, stalls)
        return counts, cycles + dram.overhead_cycles, moved, page

    def bursts(self, transfer: Transfer) -> Iterator[int]:
        rows = [
            (transfer.address + row * transfer.pitch, transfer.row_bytes)
            for row in range(transfer.rows)
        ]
        if transfer.pitch == transfer.row_bytes:
            rows = [(transfer.address, transfer.rows * transfer.row_bytes)]
        for address, size in rows:
            burst = address // self.target.dram.burst_bytes
            while burst * self.target.dram.burst_bytes < address + size:
                yield burst
                burst += 1

    def bus_bytes(self, nanoseconds: float) -> int:
        bandwidth = self.target.dram.bandwidth_bytes_per_second
        return math.ceil(Fraction(str(nanoseconds)) * bandwidth / 10**9)

    def bus_cycles(self, count: int) -> int:
        bandwidth = self.target.dram.bandwidth_bytes_per_second
        return math.ceil(Fraction(count * self.target.frequency_hz, bandwidth))

    def cycles(self, nanoseconds: float) -> Fraction:
        return Fraction(str(nanoseconds)) * self.target.frequency_hz / 10**9
