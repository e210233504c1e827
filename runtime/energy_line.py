"""Energy as a function of what a bit of DRAM costs: a straight line, since counts do not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from girih.runtime.energy import Energy
from girih.runtime.simulator import Counts


@dataclass(frozen=True)
class EnergyLine:
    """Energy of a run over the energy of a DRAM bit.

    Attributes:
        fixed: joules by cause of all that is not moving bits to and from DRAM.
        bits: moved over the DRAM bus.
    """

    fixed: Mapping[str, float]
    bits: int

    @classmethod
    def of(cls, counts: Counts, table: Energy, seconds: float) -> EnergyLine:
        """The line of a run; the table's own figure for DRAM is left out."""
        fixed = asdict(counts.energy(table, seconds))
        del fixed["dram"]
        return cls(fixed, 8 * counts.dram_bus_bytes)

    def breakdown(self, picojoules_per_bit: float) -> dict[str, float]:
        """Joules by cause."""
        return {**self.fixed, "dram": self.bits * picojoules_per_bit * 1e-12}

    def joules(self, picojoules_per_bit: float) -> float:
        """Energy in all."""
        return sum(self.breakdown(picojoules_per_bit).values())

    def largest(self, picojoules_per_bit: float) -> str:
        """The cause that takes the most."""
        parts = self.breakdown(picojoules_per_bit)
        return max(parts, key=lambda cause: parts[cause])

    def crossover(self, other: EnergyLine) -> float | None:
        """The pJ/bit at which both take the same; None where one is below at every price.

        Below the crossover the one that moves more bits takes less.
        """
        if self.bits == other.bits:
            return None
        difference = sum(other.fixed.values()) - sum(self.fixed.values())
        price = difference / (self.bits - other.bits) * 1e12
        return price if price > 0 else None

    def dram_largest(self) -> float:
        """The pJ/bit from which DRAM is the largest cause; infinite where nothing is moved."""
        return self._price(max(self.fixed.values()))

    def dram_half(self) -> float:
        """The pJ/bit from which DRAM is half of the energy or more; infinite likewise."""
        return self._price(sum(self.fixed.values()))

    def _price(self, joules: float) -> float:
        return joules / self.bits * 1e12 if self.bits else float("inf")
