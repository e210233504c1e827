"""What the tests of the families found, a row per cell, and the table that is made of them.

    python -m tests.models.rows FOLDER

prints the table of a folder of rows, and writes compiler/models/families.json where every cell of
every family has one.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = os.environ.get("GIRIH_FAMILY_ROWS", "")
"""Where rows are kept; nowhere if empty."""
RESULT = Path(__file__).parents[2] / "compiler" / "models" / "families.json"


@dataclass
class Row:
    """A cell as it was found.

    float_error: largest difference from the module's own results. w8a8: "exact" where reference,
    IREE and simulator gave the same integers. host_operations: how many of the integer program's
    operations the accelerator does not run; host_macs_share: what they have of its
    multiply-accumulates, 0 to 1; host_macs_operations: the names of those that multiply.
    """

    float_error: float | None = None
    float_seconds: float | None = None
    w8a8: str | None = None
    w8a8_seconds: float | None = None
    host_operations: int | None = None
    host_macs_share: float | None = None
    host_macs_operations: tuple[str, ...] = ()


def keep(family: str, cell: str, recipe: str, row: Row) -> None:
    """Write down what a test of one recipe found; nothing where no folder is given."""
    if FOLDER:
        folder = Path(FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        found = {name: value for name, value in asdict(row).items() if value is not None}
        text = json.dumps({"family": family, "cell": cell, "row": found})
        (folder / f"{family}.{cell}.{recipe}.json").write_text(text)


def gathered(folder: Path) -> dict[tuple[str, str], Row]:
    """The rows by family and cell, those of both recipes as one."""
    rows: dict[tuple[str, str], Row] = {}
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        row = rows.setdefault((found["family"], found["cell"]), Row())
        for name, value in found["row"].items():
            if value != []:
                setattr(row, name, value)
    return rows


def summary(rows: dict[tuple[str, str], Row], names: list[tuple[str, str]]) -> dict[str, Any]:
    """The rows as `girih models` reads them, without what differs from machine to machine."""
    families: dict[str, dict[str, Any]] = {}
    for family, cell in names:
        row = asdict(rows[family, cell])
        row.pop("float_seconds")
        row.pop("w8a8_seconds")
        row["float_error"] = float(f"{row['float_error']:.1e}")
        if row["host_macs_share"] is not None:
            row["host_macs_share"] = round(row["host_macs_share"], 4)
        families.setdefault(family, {})[cell] = row
    return {
        "families": [{"family": name, "cells": cells} for name, cells in families.items()],
        "versions": {name: version(name).partition("+")[0] for name in ("torch", "transformers")},
    }


def table(rows: dict[tuple[str, str], Row], names: list[tuple[str, str]]) -> Table:
    """A line per cell: what is known of it."""
    columns = ("family", "cell", "float error", "s", "w8a8", "s", "host operations", "of MACs")
    result = Table(*columns)
    for family, cell in names:
        row = rows.get((family, cell), Row())
        result.add_row(
            family,
            cell,
            "-" if row.float_error is None else f"{row.float_error:.1e}",
            "-" if row.float_seconds is None else f"{row.float_seconds:.0f}",
            row.w8a8 or "-",
            "-" if row.w8a8_seconds is None else f"{row.w8a8_seconds:.0f}",
            "-" if row.host_operations is None else str(row.host_operations),
            "-"
            if row.host_macs_share is None
            else f"{row.host_macs_share:.1%} {', '.join(row.host_macs_operations)}",
        )
    return result


def main() -> int:
    from tests.models.families import FAMILIES

    names = [(family.name, cell) for family in FAMILIES for cell in family.cells]
    rows = gathered(Path(sys.argv[1]))
    Console(width=120).print(table(rows, names))
    missing = [each for each in names if rows.get(each, Row()).float_error is None]
    if missing:
        print(f"{len(missing)} of {len(names)} cells have no result: {RESULT.name} stays as it is")
        return 1
    RESULT.write_text(json.dumps(summary(rows, names), indent=1) + "\n")
    exact = {family for family, _ in names} - {f for f, c in names if rows[f, c].w8a8 != "exact"}
    print(f"{len(FAMILIES)} families in float, {len(exact)} with the same integers everywhere")
    return 0


if __name__ == "__main__":
    sys.exit(main())
