"""What `girih models` shows: the families of models that the tests compile, as they were found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from girih.runtime.errors import InputError

FILE = Path(__file__).parent / "models" / "families.json"
"""Written by `make test-models`."""


def load_families(name: str | None = None) -> dict[str, Any]:
    """The file, or the part of one family; raises `InputError` where no family has the name."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    if name is None:
        return found
    chosen = [each for each in found["families"] if each["family"].lower() == name.lower()]
    if not chosen:
        known = ", ".join(each["family"] for each in found["families"])
        raise InputError(f"no tested family is named {name!r}; there are {known}")
    return found | {"families": chosen}


def show_families(families: dict[str, Any], console: Console) -> None:
    """A line per family; of one family alone, a line per cell."""
    listed = families["families"]
    versions = ", ".join(f"{name} {number}" for name, number in families["versions"].items())
    if len(listed) == 1:
        table = _cells(listed[0])
    else:
        table = Table("family", "entry points", "float error", "w8a8", "host MACs")
        for each in listed:
            table.add_row(*_line(each["family"], list(each["cells"]), list(each["cells"].values())))
    console.print(table)
    console.print(
        f"Random weights, a few layers, {versions}. float: against PyTorch, on IREE. w8a8: `exact` "
        "where reference, IREE and the simulated accelerator give the same integers.",
        highlight=False,
    )


def _line(family: str, names: list[str], cells: list[dict[str, Any]]) -> list[str]:
    error = max(cell["float_error"] for cell in cells)
    exact = all(cell["w8a8"] == "exact" for cell in cells)
    shares = [cell["host_macs_share"] for cell in cells if cell["host_macs_share"] is not None]
    share = f"{max(shares):.1%}" if exact and shares else "-"
    return [family, ", ".join(names), f"{error:.0e}", "exact" if exact else "-", share]


def _cells(family: dict[str, Any]) -> Table:
    table = Table(
        "entry point", "float: error", "w8a8", "operations on the host", "of the MACs", "which"
    )
    for name, cell in family["cells"].items():
        share = cell["host_macs_share"]
        table.add_row(
            f"{family['family']} {name}",
            f"{cell['float_error']:.0e}",
            cell["w8a8"] or "-",
            "-" if cell["host_operations"] is None else str(cell["host_operations"]),
            "-" if share is None else f"{share:.1%}",
            ", ".join(cell["host_macs_operations"]),
        )
    return table
