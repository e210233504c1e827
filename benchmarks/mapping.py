"""What girih's mapping reaches on Whisper tiny, beside zigzag, accelforge and SCALE-Sim.

    python benchmarks/mapping.py [--target edge small] [--step encoder] [--peers] [--fresh]

Each product of the encoder and of a decode step by itself, then attention, then the whole entries
with and without fusion. `--peers` adds the other tools, each in an environment of its own under
build/peers/ that the first run installs; their answers are remembered there, `--fresh` asks anew.
Tables go to the console and to build/mapping/. docs/peers.md says how the comparison is made.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison import Column, Result, attention_columns, girih_columns, peer_columns
from gemms import ATTENTION, STEPS, Gemm, attention_compulsory_bytes
from products import whole
from rich.console import Console
from rich.table import Table

from girih.runtime.report import Report
from girih.runtime.target import Target

FOLDER = Path(__file__).resolve().parent.parent / "build" / "mapping"


@dataclass(frozen=True)
class Grid:
    """A table, for the console and as Markdown."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def rich(self) -> Table:
        table = Table(title=self.title)
        for index, name in enumerate(self.header):
            table.add_column(name, justify="left" if index == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [self.header, ("---",) + ("--:",) * (len(self.header) - 1), *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 0, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:,.{digits}f}"


def by_product(
    title: str,
    gemms: Sequence[Gemm],
    bounds: dict[str, Callable[[Gemm], float]],
    columns: Sequence[Column],
    of: Callable[[Result], float],
) -> Grid:
    """A row a product (one of it), then the sum of the step."""
    rows: list[tuple[str, ...]] = []
    for gemm in gemms:
        cells = [number(bound(gemm)) for bound in bounds.values()]
        for column in columns:
            result = column.results.get(gemm.name)
            cells.append(number(None if result is None else of(result)))
        rows.append((gemm.name, gemm.sizes, str(gemm.count), *cells))
    sums = [number(sum(gemm.count * bound(gemm) for gemm in gemms)) for bound in bounds.values()]
    sums += [number(column.total(gemms, of)) for column in columns]
    header = ("product", "M x N x K", "times", *bounds, *(column.title for column in columns))
    return Grid(title, header, [*rows, ("the step", "", "", *sums)])


def in_total(title: str, gemms: Sequence[Gemm], columns: Sequence[Column], target: Target) -> Grid:
    """A row a tool: the whole step."""
    roofline = sum(gemm.count * gemm.roofline_cycles(target) for gemm in gemms)
    compulsory = sum(gemm.count * gemm.compulsory_bytes for gemm in gemms)
    work = sum(gemm.count * gemm.macs for gemm in gemms) / target.macs_per_cycle
    rows: list[tuple[str, ...]] = []
    for column in columns:
        cycles = column.total(gemms, lambda result: result.cycles)
        moved = column.total(gemms, lambda result: result.dram_bytes)
        energy = column.total(gemms, lambda result: result.energy_joules)
        rows.append(
            (
                column.title,
                number(cycles),
                number(cycles, 3, 1 / roofline),
                number(None if cycles is None else work / cycles, 3),
                number(moved, 2, 1e-6),
                number(moved, 3, 1 / compulsory),
                number(energy, 2, 1e3),
                number(column.seconds(lambda result: result.wall_seconds), 1),
                number(column.seconds(lambda result: result.cpu_seconds), 1),
                column.why,
            )
        )
    header = (
        "tool, buffering",
        "cycles",
        "x roofline",
        "utilization",
        "DRAM MB",
        "x compulsory",
        "energy mJ",
        "wall s",
        "CPU s",
        "",
    )
    return Grid(title, header, rows)


def attention_grid(title: str, gemm: Gemm, columns: Sequence[Column]) -> Grid:
    rows: list[tuple[str, ...]] = []
    for column in columns:
        result = column.results.get(gemm.name)
        cycles, moved = (None, None) if result is None else (result.cycles, result.dram_bytes)
        rows.append((column.title, number(cycles), number(moved, 3, 1e-6), column.why))
    least = number(attention_compulsory_bytes(gemm), 3, 1e-6)
    return Grid(f"{title} (compulsory {least} MB)", ("tool, buffering", "cycles", "MB", ""), rows)


def whole_grid(title: str, reports: dict[str, Report]) -> Grid:
    # The work is the same: the bounds are those of the fused regions.
    roofline = reports["all fusion"].roofline_cycles
    least = reports["all fusion"].traffic_bound_bytes
    rows: list[tuple[str, ...]] = []
    for label, report in reports.items():
        moved = report.dram_read_bytes + report.dram_write_bytes
        rows.append(
            (
                label,
                number(report.cycles),
                number(report.cycles, 3, 1 / roofline),
                number(moved, 2, 1e-6),
                number(moved, 2, 1 / least),
                number(report.energy_joules, 2, 1e3),
            )
        )
    header = ("girih", "cycles", "x roofline", "DRAM MB", "x bound", "energy mJ")
    return Grid(title, header, rows)


def compare(target: Target, steps: Sequence[str], peers: bool, fresh: bool) -> list[Grid]:
    """All tables of one target; what they hold also goes to build/mapping/<target>.json."""
    grids: list[Grid] = []
    record: dict[str, Any] = {}
    for step in steps:
        gemms = STEPS[step]
        *girih, array = girih_columns(target, gemms)
        others = peer_columns(target, gemms, fresh) if peers else []
        where = f"{target.name}, {step}"
        cycles: dict[str, Callable[[Gemm], float]] = {
            "roofline": lambda gemm: gemm.roofline_cycles(target),
            "closed form": lambda gemm: gemm.systolic_cycles(target),
        }
        compulsory: dict[str, Callable[[Gemm], float]] = {
            "compulsory": lambda gemm: gemm.compulsory_bytes
        }
        # SCALE-Sim sends every sum out: its bytes are not those of this machine.
        movers = [column for column in others if column.tool != "SCALE-Sim"]
        grids += [
            by_product(
                f"{where}: DRAM bytes",
                gemms,
                compulsory,
                [*girih, *movers],
                lambda result: result.dram_bytes,
            ),
            by_product(
                f"{where}: cycles",
                gemms,
                cycles,
                [*girih, array, *others],
                lambda result: result.cycles,
            ),
            in_total(f"{where}: all its products", gemms, [*girih, *others], target),
        ]
        record[step] = [dataclasses.asdict(column) for column in [*girih, array, *others]]
    attention = attention_columns(target, ATTENTION, fresh, peers)
    grids.append(attention_grid(f"{target.name}: attention, fused", ATTENTION, attention))
    record["attention"] = [dataclasses.asdict(column) for column in attention]
    entries = whole(target)
    for step in steps:
        grids.append(whole_grid(f"{target.name}: the whole {step}", entries[step]))
    record["whole"] = {
        step: {label: report.to_dict() for label, report in entries[step].items()} for step in steps
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{target.name}.json").write_text(json.dumps(record, indent=1))
    text = "\n\n".join(grid.markdown() for grid in grids)
    (FOLDER / f"{target.name}.md").write_text(text + "\n")
    return grids


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", nargs="+", default=["edge", "small"])
    parser.add_argument("--step", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="ask the peers anew")
    options = parser.parse_args()
    console = Console(width=200)
    for name in options.target:
        for grid in compare(Target.load(name), options.step, options.peers, options.fresh):
            console.print(grid.rich())


if __name__ == "__main__":
    main()
