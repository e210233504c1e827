"""The same products through girih and its peers, as columns of one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemms import Gemm
from peers.environments import PEERS, UnavailableError, answers, case_of
from products import FUSED, SINGLE, alone

from girih.passes.tile import Tile
from girih.runtime.target import Target

SCALESIM_CYCLES = 300_000
"""SCALE-Sim steps through every cycle, at some 3,000 a second: longer products keep to its closed
form, which it equals."""


@dataclass(frozen=True)
class Result:
    """What a tool says of a product, all batches of it. `energy_joules` None: the tool has none."""

    cycles: float
    dram_bytes: float
    energy_joules: float | None
    mapping: str
    wall_seconds: float
    cpu_seconds: float


@dataclass
class Column:
    """A tool under a buffering policy. `why` says what is missing where `results` has gaps."""

    tool: str
    buffering: str
    results: dict[str, Result] = field(default_factory=dict[str, Result])
    why: str = ""

    @property
    def title(self) -> str:
        """Tool and policy."""
        return f"{self.tool}, {self.buffering}"

    def total(self, gemms: Sequence[Gemm], of: Callable[[Result], float | None]) -> float | None:
        """Summed over a step, or None where a product is missing."""
        parts = [of(self.results[gemm.name]) for gemm in gemms if gemm.name in self.results]
        known = [part for part in parts if part is not None]
        if len(known) < len(gemms):
            return None
        return sum(gemm.count * part for gemm, part in zip(gemms, known, strict=True))

    def seconds(self, of: Callable[[Result], float]) -> float:
        """What the tool took: a product that occurs several times is asked for once."""
        return sum(of(result) for result in self.results.values())


@dataclass(frozen=True)
class Contender:
    """A peer, the policy it is asked for, and its options."""

    title: str
    peer: str
    buffering: str
    options: tuple[tuple[str, Any], ...] = ()


CONTENDERS = (
    Contender("SCALE-Sim", "scalesim", "double"),
    *(
        Contender(f"zigzag {factors}", "zigzag", buffering, (("factors", factors),))
        for factors in (6, 7)
        for buffering in ("single", "double")
    ),
    Contender("accelforge", "accelforge", "single"),
    Contender("accelforge", "accelforge", "double"),
)


def peer_columns(target: Target, gemms: Sequence[Gemm], fresh: bool) -> list[Column]:
    """One column a contender; one that cannot be run has no results and says why."""
    columns: list[Column] = []
    for contender in CONTENDERS:
        column = Column(contender.title, contender.buffering)
        columns.append(column)
        asked = list(gemms)
        if contender.peer == "scalesim":
            asked = [
                gemm
                for gemm in gemms
                if gemm.systolic_cycles(target) <= SCALESIM_CYCLES * gemm.batches
            ]
            if len(asked) < len(gemms):
                column.why = f"products above {SCALESIM_CYCLES:,} cycles are left out"
        case = case_of(target, contender.buffering, **dict(contender.options))
        try:
            found = answers(PEERS[contender.peer], case, asked, fresh)
        except UnavailableError as error:
            column.why = str(error)
            continue
        for gemm, answer in zip(asked, found, strict=True):
            column.results[gemm.name] = _result(gemm, answer)
    return columns


def _result(gemm: Gemm, answer: dict[str, Any]) -> Result:
    energy = answer["energy_pj"]
    return Result(
        cycles=gemm.batches * answer["cycles"],
        dram_bytes=gemm.batches * (answer["dram_read_bytes"] + answer["dram_write_bytes"]),
        energy_joules=None if energy is None else gemm.batches * energy * 1e-12,
        mapping=answer["mapping"],
        wall_seconds=answer["wall_seconds"],
        cpu_seconds=answer["cpu_seconds"],
    )


def girih_columns(target: Target, gemms: Sequence[Gemm]) -> list[Column]:
    """Girih's products one by one, everything charged, and what the array alone was busy."""
    array = Column("girih's array", "double")
    columns = [Column("girih", "single"), Column("girih", "double")]
    for gemm in gemms:
        columns[0].results[gemm.name], _ = _measured(gemm, target, SINGLE)
        columns[1].results[gemm.name], array.results[gemm.name] = _measured(gemm, target)
    return [*columns, array]


def _measured(gemm: Gemm, target: Target, tile: Tile = FUSED) -> tuple[Result, Result]:
    wall, cpu = time.perf_counter(), time.process_time()
    report = alone(gemm, target, tile)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    moved = report.dram_read_bytes + report.dram_write_bytes
    busy = sum(layer.busy["matrix"] for layer in report.layers)
    charged = Result(report.cycles, moved, report.energy_joules, "", *spent)
    return charged, Result(busy, moved, None, "", *spent)


def attention_columns(target: Target, gemm: Gemm, fresh: bool, peers: bool) -> list[Column]:
    """Fused attention, by those that can express it."""
    columns = [Column("girih", "double", {gemm.name: _measured(gemm, target)[0]})]
    for buffering in ("single", "double") if peers else ():
        column = Column("accelforge", buffering)
        try:
            (found,) = answers(PEERS["accelforge"], case_of(target, buffering), [gemm], fresh)
            column.results[gemm.name] = _result(gemm, found)
        except UnavailableError as error:
            column.why = str(error)
        columns.append(column)
    return columns
