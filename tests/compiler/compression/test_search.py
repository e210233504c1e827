"""The search on made-up losses and costs, where the best choice is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest

from girih.compiler.compression.cost import Cost
from girih.compiler.compression.measure import Score
from girih.compiler.compression.moves import Move
from girih.compiler.compression.search import Budget, Point, Search, front
from girih.compiler.recipe import Pruning, Recipe
from girih.passes.quantization.rules import NodeRule
from girih.runtime.errors import CompilationError

BASE = Recipe(name="base")
SAVED = {"a": 40, "b": 30, "c": 20, "d": 10, "layers.0": 50}
LOSSES = {"a": 4.0, "b": 0.3, "c": 0.1, "d": 0.2, "layers.0": 9.0}
WHOLE = 200


def moves(blocks: bool = False) -> list[Move]:
    found = [
        Move(
            "bits", name, "", "layers.0" if name == "a" else "", (NodeRule(match=name, weights=4),)
        )
        for name in "abcd"
    ]
    if blocks:
        pruning = (Pruning(match="layers.0", blocks=1),)
        found.append(Move("blocks", "layers.0", "", "layers.0", pruning=pruning))
    return found


def parts(recipe: Recipe) -> list[str]:
    return [rule.match for rule in recipe.rules] + [each.match for each in recipe.pruning]


def costs(recipes: Sequence[Recipe], title: str) -> list[Cost]:
    sizes = [WHOLE - sum(SAVED[name] for name in parts(recipe)) for recipe in recipes]
    return [Cost(bytes=size, cycles=size, energy_joules=size, dram_bytes=size) for size in sizes]


def together(names: Sequence[str]) -> float:
    """Losses add up, but b and c hurt each other."""
    return sum(LOSSES[name] for name in names) + (5.0 if {"b", "c"} <= set(names) else 0.0)


def scores(recipes: Sequence[Recipe], title: str) -> list[Score]:
    losses = [together(parts(recipe)) for recipe in recipes]
    return [Score(loss, max(0.0, 1 - loss / 10)) for loss in losses]


def search(budget: Budget, blocks: bool = False, **options: Any) -> tuple[Search, Point]:
    chosen = moves(blocks)
    losses = [LOSSES[move.label] for move in chosen]
    found = Search(BASE, chosen, losses, budget, scores, costs)
    return found, found.run(**{"points": 4, "trials": 20} | options)


def test_the_cheapest_loss_for_what_is_saved_comes_first() -> None:
    _, point = search(Budget("bytes", 180), trials=0)
    assert parts(point.recipe) == ["c"]


def test_exchanges_find_what_the_sums_do_not_see() -> None:
    # In order, b and c fill the budget; measured, b and d lose less.
    _, greedy = search(Budget("bytes", 160), trials=0)
    assert set(parts(greedy.recipe)) == {"b", "c"}
    _, point = search(Budget("bytes", 160))
    within = [
        names
        for count in range(5)
        for names in combinations("abcd", count)
        if WHOLE - sum(SAVED[name] for name in names) <= 160
    ]
    assert point.score.loss == min(map(together, within))
    assert set(parts(point.recipe)) == {"b", "d"}


@pytest.mark.parametrize(("what", "limit"), [("agreement", 0.95), ("loss", 0.5)])
def test_a_bound_on_quality_takes_as_much_as_it_allows(what: Any, limit: float) -> None:
    _, point = search(Budget(what, limit))
    assert set(parts(point.recipe)) == {"c", "d"} or set(parts(point.recipe)) == {"c"}
    assert Budget(what, limit).holds_for(point.cost, point.score)


def test_nothing_is_changed_in_a_block_that_goes() -> None:
    found, _ = search(Budget("bytes", 95), blocks=True)
    chosen = [parts(point.recipe) for point in found.points.values()]
    assert any("layers.0" in names for names in chosen)
    assert not any({"a", "layers.0"} <= set(names) for names in chosen)


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(CompilationError, match="all moves together leave 100"):
        search(Budget("bytes", 90))


def test_bytes_that_are_spared_by_spending_energy_are_no_step_down_the_front() -> None:
    """Seen from the chosen point, which stays whatever its neighbours cost."""
    base = Recipe.load("w8a8")
    points = {
        size: Point(base, Cost(size, 0.0, energy, 0.0), Score(loss, None))
        for size, energy, loss in [
            (50, 9.0, 0.0),
            (45, 6.0, 0.1),  # less energy than the chosen one, which is smaller
            (40, 7.0, 0.2),
            (30, 8.0, 0.3),
            (20, 7.0, 0.4),
            (10, 5.0, 0.5),
            (5, 4.0, 0.5),  # what is larger loses as much: beaten
        ]
    }
    found = front(points.values(), "bytes", points[40])
    assert [each.cost.bytes for each in found] == [50, 40, 20, 5]


def test_the_front_keeps_what_nothing_beats() -> None:
    found, _ = search(Budget("bytes", 160))
    chosen = min(found.points.values(), key=lambda each: each.score.loss)
    kept = front(found.points.values(), "bytes", chosen)
    for point in kept:
        assert not any(
            other.cost.bytes <= point.cost.bytes and other.score.loss < point.score.loss
            for other in found.points.values()
        )
    assert [each.cost.bytes for each in kept] == sorted(
        (each.cost.bytes for each in kept), reverse=True
    )
