"""The external memory of a target: its bus and, where it is asked for, its pages."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from girih.runtime.energy import PerActivate, PerByte
from girih.runtime.errors import TargetError

MEMORY_FOLDER = Path(__file__).parent / "memories"

# Row times above this are no DRAM's, and keep all sums within 64 bits.
_RowTime = Annotated[float, Field(ge=0, le=10_000)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _power_of_two(name: str, value: int) -> None:
    if value & (value - 1):
        raise ValueError(f"expected a power of two for {name}, found {value}")


class Pages(_Model):
    """Rows of an open-page DRAM (docs/isa.md, Timing, "Open pages"), all devices in step.

    Page p, counted in `page_bytes`, lies in bank p mod `banks`.
    """

    page_bytes: int = Field(ge=64, le=1 << 20)
    banks: int = Field(ge=1, le=1024)
    activate_nanoseconds: _RowTime
    precharge_nanoseconds: _RowTime
    row_cycle_nanoseconds: _RowTime
    activate_gap_nanoseconds: _RowTime
    refresh_interval_nanoseconds: float = Field(gt=0, le=1e12)
    refresh_nanoseconds: float = Field(gt=0, le=1e9)
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Pages:
        _power_of_two("page_bytes", self.page_bytes)
        _power_of_two("banks", self.banks)
        return self


class Dram(_Model):
    """The external memory and the bus to it, shared by both transfer engines."""

    bandwidth_bytes_per_second: int = Field(ge=1_000_000, le=10**14)
    latency_cycles: int = Field(ge=0, le=1_000_000)
    burst_bytes: int = Field(ge=1, le=65536)
    overhead_cycles: int = Field(ge=0, le=1_000_000)
    capacity_bytes: int = Field(ge=4096, le=2**44)
    pages: Pages | None = None

    @model_validator(mode="after")
    def _check(self) -> Dram:
        if self.pages is not None:
            _power_of_two("burst_bytes with pages", self.burst_bytes)
            if self.burst_bytes > self.pages.page_bytes:
                raise ValueError(
                    f"expected a burst within a page of {self.pages.page_bytes} bytes, "
                    f"found {self.burst_bytes}"
                )
        return self

    def page_parameters(self, frequency_hz: int) -> dict[str, int] | None:
        """The pages as the simulator's core has them.

        Row times in bus bytes, the time in which the bus moves a byte, rounded up, and the overhead
        of a transfer rounded down; times of refresh in cycles, the interval rounded down and the
        others up.
        """
        pages = self.pages
        if pages is None:
            return None
        per_nanosecond = Fraction(self.bandwidth_bytes_per_second, 10**9)
        cycles = Fraction(frequency_hz, 10**9)
        return {
            "page_shift": pages.page_bytes.bit_length() - 1,
            "burst_shift": self.burst_bytes.bit_length() - 1,
            "banks": pages.banks,
            "activate": math.ceil(_exact(pages.activate_nanoseconds) * per_nanosecond),
            "precharge": math.ceil(_exact(pages.precharge_nanoseconds) * per_nanosecond),
            "row_cycle": math.ceil(_exact(pages.row_cycle_nanoseconds) * per_nanosecond),
            "activate_gap": math.ceil(_exact(pages.activate_gap_nanoseconds) * per_nanosecond),
            "overhead": math.floor(self.overhead_cycles * per_nanosecond / cycles),
            "refresh_interval_cycles": math.floor(
                _exact(pages.refresh_interval_nanoseconds) * cycles
            ),
            "refresh_cycles": math.ceil(_exact(pages.refresh_nanoseconds) * cycles),
            "reopen_cycles": math.ceil(_exact(pages.activate_nanoseconds) * cycles),
        }


class MemoryEnergy(_Model):
    """Energies of a memory with pages."""

    dram: PerByte
    activate: PerActivate


class Memory(_Model):
    """A memory that a target can be given: `Target.with_memory`."""

    bandwidth_bytes_per_second: int
    burst_bytes: int
    pages: Pages
    energy: MemoryEnergy

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The memories that come with girih, sorted."""
        return tuple(sorted(path.stem for path in MEMORY_FOLDER.glob("*.yaml")))

    @classmethod
    def load(cls, name: str) -> Memory:
        """A memory by its name.

        Raises:
            TargetError: no such memory.
        """
        if name not in cls.names():
            raise TargetError(f"no memory is named {name!r}; there are {', '.join(cls.names())}")
        return cls.model_validate(
            yaml.safe_load((MEMORY_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        )


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What transfers met in the DRAM's banks; all zero on a target without pages.

    Attributes:
        hits: bursts of a page that was open.
        misses: pages opened in a bank that had none open; also those opened again after a refresh.
        conflicts: pages opened in a bank that first had to close another.
        stall_cycles: cycles in which the bus waited for a page.
        refresh_cycles: cycles in which a transfer waited for a refresh.
    """

    hits: int = 0
    misses: int = 0
    conflicts: int = 0
    stall_cycles: int = 0
    refresh_cycles: int = 0

    @property
    def activates(self) -> int:
        """Pages opened."""
        return self.misses + self.conflicts

    @property
    def hit_rate(self) -> float:
        """Hits as a share of all accesses: 0 to 1."""
        accesses = self.hits + self.activates
        return self.hits / accesses if accesses else 0.0

    @classmethod
    def sum(cls, counts: Iterable[RowCounts]) -> RowCounts:
        """Field by field."""
        kept = list(counts)
        return cls(*(sum(getattr(one, name) for one in kept) for name in cls.__slots__))


def _exact(value: float) -> Fraction:
    """As it is written: 5.3 is 53 / 10."""
    return Fraction(str(value))
