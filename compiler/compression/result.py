"""What a search found: a front of recipes, what each part of the model costs, as table and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from girih.compiler.compression.measure import Score
from girih.compiler.compression.moves import Move
from girih.compiler.compression.search import Point, Resource
from girih.compiler.files import replacing
from girih.compiler.recipe import Recipe


@dataclass(frozen=True)
class Tier:
    """A part of the hierarchy in 4 bits, or pruned, while all else stays float.

    level: model, tower, block, module or channels.
    """

    level: str
    name: str
    score: Score


@dataclass(frozen=True)
class Compression:
    """The outcome of `girih.compress`.

    float16_bytes: what the model takes in half precision. chosen: the point within the budget.
    front: points that no other one beats in both the resource and the loss, their energy falling
    with the resource. uniform: presets beside them. tiers: what each part costs by itself.
    """

    resource: Resource
    float16_bytes: int
    chosen: Point
    front: tuple[Point, ...]
    uniform: tuple[Point, ...]
    tiers: tuple[Tier, ...]

    @property
    def recipe(self) -> Recipe:
        """The chosen recipe."""
        return self.chosen.recipe

    def table(self) -> Table:
        """The front, presets beside it, the chosen one marked."""
        table = Table("recipe", "bytes", "of float16", "cycles", "energy", "loss", "agreement")
        for point in [*self.uniform, *self.front]:
            mark = " *" if point == self.chosen else ""
            name = point.recipe.name if point in self.uniform else _summary(point.recipe)
            table.add_row(
                name + mark,
                f"{point.cost.bytes:,}",
                f"{point.cost.bytes / self.float16_bytes:.1%}",
                f"{point.cost.cycles:,.0f}",
                f"{point.cost.energy_joules * 1e3:.3f} mJ",
                f"{point.score.loss:.5f}",
                "-" if point.score.agreement is None else f"{point.score.agreement:.2%}",
            )
        return table

    def tier_table(self, levels: Iterable[str] = ("model", "tower", "block")) -> Table:
        """What each part costs the task by itself, the worst of a level first."""
        table = Table("level", "part", "loss", "agreement", title="in 4 bits or pruned, by itself")
        for level in levels:
            own = [tier for tier in self.tiers if tier.level == level]
            for tier in sorted(own, key=lambda each: -each.score.loss):
                agreement = tier.score.agreement
                table.add_row(
                    level,
                    tier.name,
                    f"{tier.score.loss:.5f}",
                    "-" if agreement is None else f"{agreement:.2%}",
                )
        return table

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "resource": self.resource,
            "float16_bytes": self.float16_bytes,
            "chosen": _record(self.chosen),
            "front": [_record(point) for point in self.front],
            "uniform": [_record(point) for point in self.uniform],
            "tiers": [asdict(tier) for tier in self.tiers],
        }

    def save(self, folder: Path) -> None:
        """Write recipe.yaml, compression.json and compression.html, each whole or not at all."""
        from girih.compiler.compression.page import html

        texts = {
            "recipe.yaml": recipe_yaml(self.recipe),
            "compression.json": json.dumps(self.to_dict(), indent=1, allow_nan=False),
            "compression.html": html(self),
        }
        for name, text in texts.items():
            with replacing(folder / name) as file:
                file.write(text.encode())


def recipe_yaml(recipe: Recipe) -> str:
    """A recipe as `girih compile --recipe` reads it."""
    values = recipe.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return yaml.safe_dump(values, sort_keys=False)


def by_block(moves: Iterable[Move]) -> dict[str, list[Move]]:
    """Moves to fewer bits by the block that they lie in."""
    found: dict[str, list[Move]] = {}
    for move in moves:
        if move.kind == "bits" and move.block:
            found.setdefault(move.block, []).append(move)
    return found


def by_tower(moves: Iterable[Move]) -> dict[str, list[Move]]:
    """Moves to fewer bits by the tower that they lie in."""
    found: dict[str, list[Move]] = {}
    for move in moves:
        if move.kind == "bits":
            found.setdefault(move.tower, []).append(move)
    return found


def _summary(recipe: Recipe) -> str:
    low = sum(rule.weights == 4 for rule in recipe.rules)
    return f"{low} nodes in 4 bits" + (f", {len(recipe.pruning)} pruned" if recipe.pruning else "")


def _record(point: Point) -> dict[str, Any]:
    return {
        "recipe": point.recipe.model_dump(mode="json", exclude_none=True, exclude_defaults=True),
        **asdict(point.cost),
        **asdict(point.score),
    }
