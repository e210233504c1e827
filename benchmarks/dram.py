"""What DRAM pages cost Whisper tiny's encoder, and what `arrange-dram` brings (timing only).

    python benchmarks/dram.py [--target edge@ddr4-3200 small@ddr3-1600]

Each mapping without pages, with pages and the addresses that `allocate` gives, and with those of
`arrange-dram`. "pages" and "refresh": the share of the cycles in which the bus waited for a page
to open, and transfers for a refresh.
"""

from __future__ import annotations

import argparse

from products import compiled, entry_alone, partitioned
from rich.console import Console
from rich.table import Table
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.tile import Tile
from girih.runtime.simulator import Counts, Machine
from girih.runtime.target import Target


def measured(
    text: str, compiled_for: Target, run_on: Target, fuse: bool
) -> tuple[int, Counts, float]:
    """Cycles, counts and joules of the encoder."""
    arrange = compiled_for.dram.pages is not None
    with create_context(), ir.Location.unknown():
        kernels, top = compiled(entry_alone(text), compiled_for, Tile(fuse=fuse), arrange)
    machine = Machine(run_on, dram_bytes=top)
    runs = [machine.run(kernel.program, functional=False) for kernel in kernels]
    counts = Counts.sum(run.counts for run in runs)
    return sum(run.cycles for run in runs), counts, sum(run.energy_joules for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", nargs="+", default=["edge@ddr4-3200", "small@ddr3-1600"])
    options = parser.parse_args()
    console = Console(width=140)
    for name in options.target:
        paged = Target.load(name)
        flat = paged.model_copy(update={"dram": paged.dram.model_copy(update={"pages": None})})
        text = partitioned(flat)
        table = Table(
            "fusion", "DRAM", "cycles", "hits", "opened", "conflicts", "pages", "refresh", "mJ",
            "of it opening", title=f"{name}: Whisper tiny's encoder",
        )  # fmt: skip
        for fusion, fuse in (("all", True), ("none", False)):
            for label, compiled_for, run_on in (
                ("flat", flat, flat),
                ("pages, allocate", flat, paged),
                ("pages, arrange-dram", paged, paged),
            ):
                cycles, counts, joules = measured(text, compiled_for, run_on, fuse)
                rows, energy = counts.rows, counts.energy(run_on.energy)
                table.add_row(
                    fusion,
                    label,
                    f"{cycles:,}",
                    f"{rows.hit_rate:.2%}" if rows.activates else "",
                    f"{rows.activates:,}",
                    f"{rows.conflicts:,}",
                    f"{rows.stall_cycles / cycles:.2%}",
                    f"{rows.refresh_cycles / cycles:.2%}",
                    f"{joules * 1e3:.2f}",
                    f"{energy.activate * 1e3:.3f}",
                )
        console.print(table)


if __name__ == "__main__":
    main()
