"""The search end to end: what matters keeps its bits, budgets hold, a killed search goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import girih
from girih.compiler.compression.compress import BASE, compress
from girih.compiler.compression.result import Compression
from girih.compiler.recipe import Recipe

WIDTH, WORDS = 64, 96


class Block(nn.Module):
    """A residual MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.fc2 = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


class Speaker(nn.Module):
    """Two towers of blocks; the first one hardly shows in the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.quiet = nn.ModuleList(Block() for _ in range(2))
        self.loud = nn.ModuleList(Block() for _ in range(2))
        self.logits = nn.Linear(WIDTH, WORDS)
        with torch.no_grad():
            for block in self.quiet:
                block.fc2.weight *= 0.02
            self.logits.weight *= 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in (*self.quiet, *self.loud):
            x = block(x)
        return self.logits(x)


def episodes(count: int = 4) -> list[girih.Episode]:
    torch.manual_seed(1)
    return [(girih.Call("main", (torch.randn(1, 8, WIDTH),)),) for _ in range(count)]


def found_in(folder: Path, budget: dict[str, float], **options: Any) -> Compression:
    inputs = (torch.zeros(1, 8, WIDTH),)
    settings: dict[str, Any] = {"points": 4, "trials": 4} | options
    return compress(
        Speaker().eval(), inputs, episodes=episodes(), budget=budget, folder=folder, **settings
    )


def low(recipe: Recipe) -> set[str]:
    return {rule.match for rule in recipe.rules if rule.weights == 4}


def test_what_hardly_shows_gives_up_its_bits_first(tmp_path: Path) -> None:
    found = found_in(tmp_path / "search", {"bytes": 0.58})
    assert found.chosen.cost.bytes <= 0.58 * found.float16_bytes
    chosen = low(found.recipe)
    assert chosen >= {"quiet.0.fc1", "quiet.1.fc1"}
    assert "logits" not in chosen
    towers = {tier.name: tier.score.loss for tier in found.tiers if tier.level == "tower"}
    assert towers["loud"] > towers["quiet"]


def test_the_front_falls_in_bytes_and_energy_as_the_loss_rises(tmp_path: Path) -> None:
    front = found_in(tmp_path / "search", {"bytes": 0.5}).front
    assert len(front) >= 3
    for larger, smaller in zip(front, front[1:], strict=False):
        assert smaller.cost.bytes < larger.cost.bytes
        assert smaller.cost.energy_joules < larger.cost.energy_joules
        assert smaller.score.loss > larger.score.loss


def test_the_recipe_that_is_written_compiles_to_the_bytes_that_were_promised(
    tmp_path: Path,
) -> None:
    found = found_in(tmp_path / "search", {"bytes": 0.52}, pruning=("hidden",))
    recipe = Recipe.load(tmp_path / "search" / "recipe.yaml")
    assert recipe == found.recipe
    program = girih.compile(
        Speaker().eval(), (torch.zeros(1, 8, WIDTH),), recipe=recipe, calibration=episodes()
    )
    stored = sum(array.nbytes for array in program.executable.parameters.values())
    assert stored == found.chosen.cost.bytes
    assert program["main"].cost().report.cycles == found.chosen.cost.cycles
    record = json.loads((tmp_path / "search" / "compression.json").read_text())
    assert record["chosen"]["bytes"] == stored
    assert (tmp_path / "search" / "compression.html").read_text().count("<circle") == len(
        found.front
    )


@pytest.mark.parametrize(
    ("budget", "holds"),
    [
        ({"agreement": 0.9}, lambda found: found.chosen.score.agreement >= 0.9),
        ({"loss": 0.01}, lambda found: found.chosen.score.loss <= 0.01),
        ({"energy": 0.9}, lambda found: found.chosen.cost.energy_joules > 0),
        ({"cycles": 0.95}, lambda found: found.chosen.cost.cycles > 0),
    ],
)
def test_budgets_of_each_kind_hold(tmp_path: Path, budget: dict[str, float], holds: Any) -> None:
    found = found_in(tmp_path / "search", budget, pruning=("hidden", "blocks"))
    assert holds(found)
    assert found.recipe != BASE


def test_processes_change_nothing(tmp_path: Path) -> None:
    one = found_in(tmp_path / "one", {"bytes": 0.52})
    two = found_in(tmp_path / "two", {"bytes": 0.52}, processes=2)
    assert one.to_dict() == two.to_dict()


def _die_after(folder: Path, count: int) -> None:
    def progress(title: str, done: int, whole: int) -> None:
        if "task" in title and done == count:
            os._exit(9)

    found_in(folder, {"bytes": 0.52}, progress=progress)


def test_a_killed_search_goes_on_to_the_same_result(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = multiprocessing.get_context("spawn").Process(target=_die_after, args=(folder, 5))
    process.start()
    process.join()
    assert process.exitcode == 9
    kept = (folder / "measurements.jsonl").read_text().count("key")
    assert kept >= 5
    assert not (folder / "recipe.yaml").exists()
    with (folder / "measurements.jsonl").open("a") as file:
        file.write('\n{"key": "half a li')
    resumed = found_in(folder, {"bytes": 0.52})
    assert resumed.to_dict() == found_in(tmp_path / "whole", {"bytes": 0.52}).to_dict()


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"bytes": 0.1}, "no recipe within bytes"),
        ({"watts": 1}, "the budget is watts, expected one of bytes, cycles"),
        ({}, "the budget is empty"),
        ({"bytes": -1}, "must be above 0"),
        ({"agreement": 1.5}, "nothing is within 1.5"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(
    tmp_path: Path, budget: dict[str, float], message: str
) -> None:
    with pytest.raises(girih.CompilationError, match=message):
        found_in(tmp_path / "search", budget)
    assert not (tmp_path / "search" / "recipe.yaml").exists()


def test_results_that_are_no_logits_are_compared_by_their_error(tmp_path: Path) -> None:
    found = found_in(tmp_path / "search", {"bytes": 0.55}, metric="error")
    assert found.chosen.score.agreement is None
    assert 0 < found.chosen.score.loss < 0.1
