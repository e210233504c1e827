"""What a recipe came to: the precision of every weight of a compiled model, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from rich import box
from rich.table import Table

from girih.runtime.executable import Executable
from girih.runtime.report_table import bytes_text

RECIPE_TABLE = "recipe_table"
"""Where an executable's metadata holds its table."""
_FLOAT16_BYTES = 2


@dataclass(frozen=True)
class Row:
    """One weight, or of numbered siblings that are alike all in one (``layers.0-5.fc1``).

    kind: linear, convolution, table, tied table (of tokens, and the weight of a linear operation),
    product (with activations on the other side), torch (what only the host knows), or removed, by
    pruning. shape: as it is compiled; imported: as the model has it. bits: 4, 8, 16, or a float
    type. rule: what decided, ``pattern: bits`` or ``default: bits``, and whether pruning made it
    sparse. bytes: of all `count` weights.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    imported: tuple[int, ...]
    bits: str
    rule: str
    bytes: int
    count: int = 1


@dataclass(frozen=True)
class RecipeTable:
    """The weights of a program, one a row, in the order in which they are read.

    other_bytes: what is no matrix, such as biases, norms and the parameters of rescaling.
    """

    recipe: str
    rows: tuple[Row, ...]
    other_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return sum(row.bytes for row in self.rows)

    @property
    def share_of_float16(self) -> float:
        """Bytes of all rows over what the imported model's weights would take as float16."""
        whole = sum(_FLOAT16_BYTES * row.count * math.prod(row.imported) for row in self.rows)
        return self.bytes / whole if whole else 1.0

    def collapsed(self) -> tuple[Row, ...]:
        """The rows with numbered siblings that are alike as one."""
        rows = list(self.rows)
        # From the last number of a path to the first: experts within layers, then layers.
        for place in reversed(range(max((row.path.count(".") for row in rows), default=0) + 1)):
            rows = _merged(rows, place)
        return tuple(rows)

    def table(self) -> Table:
        """For the terminal, collapsed, with a last row for the sum."""
        made = Table(
            title=f"recipe {self.recipe}",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            caption=f"{self.share_of_float16:.1%} of what these weights take as float16; biases, "
            f"norms and scales beside them: {bytes_text(self.other_bytes)}",
            caption_justify="left",
        )
        made.add_column("node", overflow="fold")
        made.add_column("kind", no_wrap=True)
        made.add_column("shape", overflow="fold")
        made.add_column("bits", no_wrap=True)
        made.add_column("rule", overflow="fold")
        made.add_column("bytes", justify="right", no_wrap=True, min_width=8)
        for row in self.collapsed():
            cells = row.path, row.kind, _shape_text(row), row.bits, row.rule
            made.add_row(*(cell.replace("[", r"\[") for cell in cells), bytes_text(row.bytes))
        made.add_section()
        count = sum(row.count for row in self.rows if row.kind != "removed")
        made.add_row(f"all {count}", "", "", "", "", bytes_text(self.bytes), style="bold")
        return made

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @staticmethod
    def of(executable: Executable) -> RecipeTable:
        """The table that a compiled program carries; empty where it carries none."""
        if RECIPE_TABLE not in executable.metadata:
            return RecipeTable(executable.recipe, (), 0)
        return TypeAdapter(RecipeTable).validate_python(executable.metadata[RECIPE_TABLE])


def _merged(rows: Sequence[Row], place: int) -> list[Row]:
    """Rows that differ in the number at one place of their paths alone, each set as one."""
    sets: dict[object, list[Row]] = {}
    for row in rows:
        parts = row.path.split(".")
        numbered = len(parts) > place and parts[place].isdigit()
        rest = (*parts[:place], "", *parts[place + 1 :]) if numbered else tuple(parts)
        sets.setdefault((numbered, replace(row, path=".".join(rest))), []).append(row)
    return [_one(alike, place) for alike in sets.values()]


def _one(alike: Sequence[Row], place: int) -> Row:
    first = alike[0]
    if len(alike) == 1:
        return first
    parts = first.path.split(".")
    parts[place] = _runs(int(row.path.split(".")[place]) for row in alike)
    return replace(
        first,
        path=".".join(parts),
        bytes=sum(row.bytes for row in alike),
        count=sum(row.count for row in alike),
    )


def _runs(numbers: Iterable[int]) -> str:
    """0, 1, 2, 4 --> 0-2,4."""
    every = sorted(numbers)
    starts = [every[0], *(after for before, after in pairwise(every) if after != before + 1)]
    ends = [*(before for before, after in pairwise(every) if after != before + 1), every[-1]]
    pairs = zip(starts, ends, strict=True)
    return ",".join(f"{start}-{end}" if end > start else f"{start}" for start, end in pairs)


def _shape_text(row: Row) -> str:
    shape, imported = ("x".join(map(str, each)) for each in (row.shape, row.imported))
    if row.kind == "removed":
        text = imported
    else:
        text = (
            shape if math.prod(row.shape) == math.prod(row.imported) else f"{shape} of {imported}"
        )
    return f"{row.count} x {text}" if row.count > 1 else text
