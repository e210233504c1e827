"""Where conclusions about energy flip: Whisper tiny's encoder over the price of a DRAM bit.

    python benchmarks/energy.py [--target edge] [--json FILE] [--html FILE]

The encoder is compiled with fusion and without and simulated once each, timing only: counts depend
on neither the technology node nor the DRAM. Energy is then linear in pJ per DRAM bit, so that the
prices at which an answer changes are computed, not searched.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any

from products import compiled, entry_alone, partitioned
from rich.console import Console
from rich.table import Table
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.tile import Tile
from girih.runtime.energy import Node
from girih.runtime.energy_line import EnergyLine
from girih.runtime.report_charts import ENERGY_NAMES
from girih.runtime.report_html import page
from girih.runtime.simulator import Counts, Machine
from girih.runtime.target import Target

PRICES = (1, 2, 4, 7, 10, 15, 20, 30, 40)
MAPPINGS = {"fused": True, "unfused": False}

Lines = Mapping[tuple[str, str], EnergyLine]  # by node and mapping


def measured(text: str, target: Target, fuse: bool) -> tuple[Counts, float]:
    """Counts and seconds of the encoder."""
    with create_context(), ir.Location.unknown():
        kernels, top = compiled(entry_alone(text), target, Tile(fuse=fuse))
    machine = Machine(target, dram_bytes=top)
    runs = [machine.run(kernel.program, functional=False) for kernel in kernels]
    return Counts.sum(run.counts for run in runs), sum(run.seconds for run in runs)


def lines_of(target: Target) -> Lines:
    """The encoder's energy with every mapping at every node."""
    text = partitioned(target)
    found: dict[tuple[str, str], EnergyLine] = {}
    for mapping, fuse in MAPPINGS.items():
        counts, seconds = measured(text, target, fuse)
        for node in Node.names():
            table = target.at_node(node).energy
            found[node, mapping] = EnergyLine.of(counts, table, seconds)
    return found


def flips(lines: Lines) -> list[dict[str, Any]]:
    """Every price at which an answer changes, and the answers below and above it."""
    found: list[dict[str, Any]] = []

    def add(question: str, price: float | None, below: str, above: str) -> None:
        found.append({"question": question, "pj_per_bit": price, "below": below, "above": above})

    for (node, mapping), line in lines.items():
        name = f"{mapping} at {node}"
        cause = ENERGY_NAMES[line.largest(0)]
        add(f"What takes the most energy, {name}?", line.dram_largest(), cause, "DRAM")
        add(f"Is DRAM half of the energy, {name}?", line.dram_half(), "no", "yes")
    for first, second in combinations(lines, 2):
        more, fewer = sorted((first, second), key=lambda each: -lines[each].bits)
        names = [f"{mapping} at {node}" for node, mapping in (more, fewer)]
        question = f"What takes less, {names[0]} or {names[1]}?"
        price = lines[more].crossover(lines[fewer])
        if price is None:
            # The same one at every price.
            better = names[0] if lines[more].joules(1) < lines[fewer].joules(1) else names[1]
            add(question, None, better, better)
        else:
            add(question, price, names[0], names[1])
    return found


def points(lines: Lines, prices: tuple[float, ...]) -> list[dict[str, Any]]:
    """Energies at each price and node."""
    return [
        {
            "node": node,
            "pj_per_bit": price,
            **{
                mapping: {
                    "joules": lines[node, mapping].joules(price),
                    "largest": lines[node, mapping].largest(price),
                    "breakdown": lines[node, mapping].breakdown(price),
                }
                for mapping in MAPPINGS
            },
            "fused_saves": 1
            - lines[node, "fused"].joules(price) / lines[node, "unfused"].joules(price),
        }
        for node in Node.names()
        for price in prices
    ]


def show(console: Console, target: Target, lines: Lines, prices: tuple[float, ...]) -> None:
    table = Table(
        "node", "pJ/bit", "fused, mJ", "DRAM", "largest", "unfused, mJ", "DRAM", "largest",
        "fusion saves", title=f"{target.name}: Whisper tiny's encoder",
    )  # fmt: skip
    for point in points(lines, prices):
        cells: list[str] = []
        for mapping in MAPPINGS:
            found = point[mapping]
            share = found["breakdown"]["dram"] / found["joules"]
            cells += [
                f"{found['joules'] * 1e3:.2f}", f"{share:.0%}", ENERGY_NAMES[found["largest"]],
            ]  # fmt: skip
        price = f"{point['pj_per_bit']:g}"
        table.add_row(point["node"], price, *cells, f"{point['fused_saves']:.1%}")
    console.print(table)
    table = Table("question", "flips at, pJ/bit", "below", "above", title="Where answers change")
    for flip in flips(lines):
        price = flip["pj_per_bit"]
        text = "nowhere" if price is None else f"{price:.2f}"
        table.add_row(flip["question"], text, flip["below"], flip["above"])
    console.print(table)


COLOURS = ("#e09f3e", "#3d7ec4", "#2f9e6e", "#a65bb5")
DASHES = {"fused": "", "unfused": "6 4"}
WIDTH, HEIGHT, LEFT, TOP = 900, 380, 70, 10


def chart(lines: Lines, last: float) -> str:
    """The lines from 0 to `last` pJ/bit as SVG; a tick is where DRAM becomes the largest cause."""
    highest = max(line.joules(last) for line in lines.values()) * 1e3
    step = 10 ** math.floor(math.log10(highest))
    colours = dict(zip(Node.names(), COLOURS, strict=False))
    parts: list[str] = []

    def at(price: float, millijoules: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - 130) * price / last
        return x, TOP + HEIGHT * (1 - millijoules / highest)

    for number in range(int(highest / step) + 1):
        _, y = at(0, number * step)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 130}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:g} mJ</text>'
        )
    for price in range(0, int(last) + 1, 5):
        x, _ = at(price, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{price}</text>'
        )
    for (node, mapping), line in lines.items():
        (x1, y1), (x2, y2) = at(0, line.joules(0) * 1e3), at(last, line.joules(last) * 1e3)
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke-width="2" '
            f'stroke="{colours[node]}" stroke-dasharray="{DASHES[mapping]}"/>'
            f'<text x="{x2 + 6:.1f}" y="{y2 + 4:.1f}">{escape(f"{mapping}, {node}")}</text>'
        )
        turn = line.dram_largest()
        if turn <= last:
            x, y = at(turn, line.joules(turn) * 1e3)
            parts.append(f'<line x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}" class="tick"/>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle" class="quiet">'
        "pJ per DRAM bit; from the tick on DRAM is the largest part</text>"
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {TOP + HEIGHT + 46}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def html(target: Target, lines: Lines, last: float) -> str:
    rows = "".join(
        f'<tr><td class="text">{escape(flip["question"])}</td>'
        f"<td>{'nowhere' if flip['pj_per_bit'] is None else format(flip['pj_per_bit'], '.2f')}</td>"
        f'<td class="text">{escape(flip["below"])}</td>'
        f'<td class="text">{escape(flip["above"])}</td></tr>'
        for flip in flips(lines)
    )
    heads = "".join(
        f"<th class=text>{head}</th>" for head in ("question", "flips at, pJ/bit", "below", "above")
    )
    return page(
        f"Energy of Whisper tiny's encoder on {target.name}",
        f"{chart(lines, last)}<h3>Where answers change</h3>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="edge")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--html", type=Path)
    options = parser.parse_args()
    target = Target.load(options.target)
    lines = lines_of(target)
    own = target.energy.dram.value / 8
    prices = tuple(sorted({*map(float, PRICES), own}))
    show(Console(width=140), target, lines, prices)
    print(f"{target.name} itself has {own:g} pJ/bit: {target.energy.dram.source}")
    if options.json is not None:
        values = {
            "target": target.name,
            "lines": [
                {
                    "node": node,
                    "mapping": mapping,
                    "fixed_joules": dict(line.fixed),
                    "bits": line.bits,
                }
                for (node, mapping), line in lines.items()
            ],
            "points": points(lines, prices),
            "flips": flips(lines),
        }
        options.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if options.html is not None:
        options.html.write_text(html(target, lines, prices[-1]), encoding="utf-8")


if __name__ == "__main__":
    main()
