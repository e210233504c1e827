"""The choice of tiles: bounds say what is worth trying, the simulator's clock says what is best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from girih.runtime.target import Target

_Tiles = TypeVar("_Tiles")

BUS_WEIGHT = 4.0
"""What a cycle of the DRAM bus costs beside a cycle of time. A transfer that hides behind the array
takes no time, but energy: Whisper's encoder takes 606 pJ a cycle on chip on `edge` (7 nm), a cycle
of the bus 4,160; 583 and 2,080 on `small`, 3,024 and 39,375 on `cloud`."""

LIMIT = 12
"""Choices that are tried in a compilation; see `search`."""

SHORT_LIMIT = 4
SHORT_PRICE = 20_000
"""Regions of less than this price are tried so many times only: little depends on them."""


@dataclass(frozen=True)
class Measured:
    """What the simulator's clock and counters say of a region by itself."""

    cycles: int
    dram_bytes: int


@dataclass(frozen=True)
class Candidate(Generic[_Tiles]):
    """Tiles, cycles and DRAM bytes that they take at least, and a guess of their whole price."""

    tiles: _Tiles
    bound_cycles: float
    bound_bytes: float
    guess: float


@dataclass(frozen=True)
class Found(Generic[_Tiles]):
    """The cheapest of the choices that were tried, and whether no other can be cheaper."""

    tiles: _Tiles
    measured: Measured
    is_exact: bool


def price(target: Target, cycles: float, moved: float) -> float:
    """What is minimized: cycles, and the cycles that the bus is busy."""
    return cycles + BUS_WEIGHT * moved / target.dram_bytes_per_cycle


def search(
    candidates: Iterable[Candidate[_Tiles]],
    measure: Callable[[_Tiles], Measured | None],
    target: Target,
    limit: int | None = LIMIT,
) -> Found[_Tiles] | None:
    """The cheapest candidate; None where none fits. Of a small region, fewer are tried.

    Branch and bound over a flat set: in the order of their guesses, candidates are measured unless
    their bounds show them to be no cheaper than the best so far. Without a limit, or where it is
    not reached, the result is that of measuring all.
    """
    best: Found[_Tiles] | None = None
    least, tried = float("inf"), 0
    ordered = sorted(candidates, key=lambda each: each.guess)
    if limit is not None and ordered and ordered[0].guess < SHORT_PRICE:
        limit = min(limit, SHORT_LIMIT)
    for candidate in ordered:
        if price(target, candidate.bound_cycles, candidate.bound_bytes) >= least:
            continue
        if limit is not None and tried >= limit and best is not None:
            return Found(best.tiles, best.measured, False)
        tried += 1
        measured = measure(candidate.tiles)
        if measured is None:
            continue
        cost = price(target, measured.cycles, measured.dram_bytes)
        if cost < least:
            best, least = Found(candidate.tiles, measured, True), cost
    return best
