"""The choice of tiles: what it believes is what the machine does, and what it finds is the best."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch_mlir import ir

from girih.passes.allocate import Allocate
from girih.passes.base import Compilation
from girih.passes.peel import Peel
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.passes.tiling import choice, mapping
from girih.passes.tiling.cost import Product
from girih.passes.tiling.mapping import to_yaml
from girih.passes.tiling.product_cost import product_candidates
from girih.passes.tiling.search import Candidate, Found, Measured, price, search
from girih.runtime.errors import CompilationError
from girih.runtime.simulator import Machine
from girih.runtime.target import Target


@pytest.fixture
def any_choice(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Instead of the best tiles, any that fit; nothing is remembered."""
    dice = random.Random(0)

    def pick(candidates: Iterable[Candidate[Any]], measure: Any, target: Target) -> Any:
        shuffled = list(candidates)
        dice.shuffle(shuffled)
        for candidate in shuffled:
            measured = measure(candidate.tiles)
            if measured is not None:
                return Found(candidate.tiles, measured, False)
        return None

    monkeypatch.setattr(choice, "search", pick)
    monkeypatch.setattr(mapping, "_KNOWN", _Forgetful())
    return dice


class _Forgetful(dict[Any, Any]):
    """Remembers for one question only, so that a region gets other tiles each time."""

    def __contains__(self, key: object) -> bool:
        return False


def _noise(dice: random.Random, *shape: int, dtype: Any = np.int8) -> Any:
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(dice.randrange(1 << 30))
    return generator.integers(limits.min, limits.max + 1, shape).astype(dtype)


def _one_region(graph: Any, dice: random.Random, largest: int = 150) -> Any:
    """A program of one region: a product of some kind, or a norm with products around it."""
    kind = dice.choice(["linear", "gelu", "residual", "matmul", "conv", "chain"])
    rows, columns, depth = (dice.randint(1, largest) for _ in range(3))
    if kind == "matmul":
        batches, transposed = dice.randint(1, 3), dice.random() < 0.5
        right = (batches, columns, depth) if transposed else (batches, depth, columns)
        g = graph([_noise(dice, batches, rows, depth), _noise(dice, *right)])
        g.finish(g.matmul(*g.arguments, transposed=transposed))
        return g
    if kind == "conv":
        g = graph([_noise(dice, 1, rows + 2, dice.randint(1, 20))])
        g.finish(g.conv1d(g.arguments[0], columns, 3, dice.randint(1, 2), 1))
        return g
    if kind == "chain":
        g = graph([_noise(dice, 1, rows, depth, dtype=np.int16)])
        inner = g.linear(g.layer_norm(g.arguments[0]), columns, "i16")
        g.finish(g.gelu(inner))
        return g
    g = graph([_noise(dice, rows, depth), _noise(dice, rows, columns, dtype=np.int16)])
    result = g.linear(g.arguments[0], columns, "i16" if kind != "linear" else "i8")
    if kind == "gelu":
        result = g.gelu(result)
    if kind == "residual":
        result = g.add(result, g.arguments[1])
    g.finish(result)
    return g


def _targets() -> list[Target]:
    return [Target.load(name) for name in Target.presets()]


@pytest.mark.parametrize("regions", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_cost_is_what_the_simulator_says(
    graph: Any, any_choice: random.Random, regions: int
) -> None:
    """Within 2 %, whatever the tiles: it is the same clock."""
    from girih.compiler.codegen import generate

    compared = 0
    while compared < regions:
        target = any_choice.choice(_targets())
        g = _one_region(graph, any_choice)
        compilation = Compilation(parameters=g.parameters, target=target)
        with g.context, ir.Location.unknown():
            for each in (Tile(), Peel(), Allocate(), Synchronize()):
                each.run(g.module, compilation)
            kernels, top = generate(g.module, target)
        if len(kernels["main"].layers) != 1:
            continue  # cut into several regions, which overlap
        (entry,) = compilation.chosen.values()
        machine = Machine(target, dram_bytes=top)
        said = machine.run(machine.load(kernels["main"].program), functional=False)
        assert abs(entry["cycles"] - said.cycles) <= 0.02 * said.cycles
        assert entry["dram_bytes"] == said.counts.dram_read_bytes + said.counts.dram_write_bytes
        compared += 1


@pytest.mark.parametrize("seed", range(30))
def test_any_choice_computes_the_same(
    graph: Any, any_choice: random.Random, hand_changed: Target, seed: int
) -> None:
    """Bit for bit, with the simulator's checks on."""
    any_choice.seed(seed)
    target = any_choice.choice([*_targets(), hand_changed])
    _one_region(graph, any_choice).check(target)


@pytest.mark.parametrize("regions", [40, pytest.param(300, marks=pytest.mark.slow)])
def test_exact_search_is_brute_force(
    graph: Any, monkeypatch: pytest.MonkeyPatch, regions: int
) -> None:
    """Every candidate of small regions on the simulator's clock: none is cheaper than the found."""
    dice, compared, spared = random.Random(7), 0, 0

    def both(candidates: Iterable[Candidate[Any]], measure: Any, target: Target) -> Any:
        nonlocal compared, spared
        every, costs = list(candidates), dict[Any, Measured | None]()

        def once(tiles: Any) -> Measured | None:
            if tiles not in costs:
                costs[tiles] = measure(tiles)
            return costs[tiles]

        found = search(every, once, target, limit=None)
        spared += len(every) - len(costs)
        fitting = [each for each in (once(candidate.tiles) for candidate in every) if each]
        assert (found is None) == (not fitting)
        if found is not None:
            assert found.is_exact
            least = min(price(target, each.cycles, each.dram_bytes) for each in fitting)
            assert price(target, found.measured.cycles, found.measured.dram_bytes) == least
        compared += 1
        return found

    monkeypatch.setattr(choice, "search", both)
    monkeypatch.setattr(mapping, "_KNOWN", _Forgetful())
    while compared < regions:
        target = dice.choice(_targets())
        g = _one_region(graph, dice, largest=40)
        with g.context, ir.Location.unknown():
            Tile().run(g.module, Compilation(parameters=g.parameters, target=target))
    # Bounds that leave nothing out would make this test a comparison of a thing with itself.
    assert spared > 0


@pytest.mark.parametrize("seed", range(300))
def test_search_finds_what_trying_all_finds(seed: int) -> None:
    """Bounds leave out only what cannot be better: tried on any few of the choices."""
    dice = random.Random(seed)
    target = dice.choice(_targets())
    what = Product(*(dice.randint(1, 400) for _ in range(3)), output_bytes=1)
    candidates = product_candidates(what, target)
    few = dice.sample(candidates, min(len(candidates), 8))
    # Any machine that respects the bounds will do, so its times may be made up.
    times = {
        each.tiles: Measured(
            int(each.bound_cycles * (1 + dice.random())) + 1,
            int(each.bound_bytes * (1 + dice.choice((0, 0, dice.random())))) + 1,
        )
        for each in few
    }
    impossible = set(dice.sample(list(times), dice.randint(0, len(times) - 1)))

    def measure(tiles: Any) -> Measured | None:
        return None if tiles in impossible else times[tiles]

    found = search(few, measure, target, limit=None)
    assert found is not None
    assert found.is_exact
    all_prices = [
        price(target, each.cycles, each.dram_bytes)
        for tiles, each in times.items()
        if tiles not in impossible
    ]
    assert price(target, found.measured.cycles, found.measured.dram_bytes) == min(all_prices)


def test_bounds_are_never_above_the_simulator(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the search could leave out the best."""
    dice, checked = random.Random(1), 0

    def check(candidates: Iterable[Candidate[Any]], measure: Any, target: Target) -> Any:
        nonlocal checked
        found: Any = None
        known = list(candidates)
        for candidate in dice.sample(known, min(4, len(known))):
            measured = measure(candidate.tiles)
            if measured is not None:
                assert candidate.bound_cycles <= measured.cycles
                assert candidate.bound_bytes <= measured.dram_bytes
                found, checked = Found(candidate.tiles, measured, False), checked + 1
        return found

    monkeypatch.setattr(choice, "search", check)
    monkeypatch.setattr(mapping, "_KNOWN", _Forgetful())
    for _ in range(40):
        _one_region(graph, dice).compile(dice.choice(_targets()))
    assert checked > 100


def test_a_limit_is_admitted() -> None:
    target = Target.load("edge")
    candidates = [Candidate(number, 1, 1, number) for number in range(5)]
    found = search(candidates, lambda tiles: Measured(10 - tiles, 1), target, limit=2)
    assert found is not None
    assert (found.tiles, found.is_exact) == (1, False)


# ---- mapping files ----


def _linear(graph: Any) -> Any:
    g = graph([np.ones((100, 64), np.int8)])
    g.finish(g.linear(g.arguments[0], 96))
    return g


def _tile(g: Any, given: Path | None = None) -> Compilation:
    compilation = Compilation(g.parameters, Target.load("edge"), mapping=given)
    with g.context, ir.Location.unknown():
        Tile().run(g.module, compilation)
    return compilation


def test_a_mapping_file_is_followed(graph: Any, tmp_path: Path) -> None:
    chosen = _tile(_linear(graph)).chosen
    ((region, entry),) = chosen.items()
    entry["tiles"]["rows"] = 7
    entry["tiles"]["outer"], entry["tiles"]["block"] = "weights", entry["tiles"]["columns"]
    file = tmp_path / "mapping.yaml"
    file.write_text(to_yaml("edge", {region: entry}), encoding="utf-8")
    again = _tile(_linear(graph), file).chosen
    assert again[region]["tiles"]["rows"] == 7
    assert again[region]["cycles"] > entry["cycles"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows is 0, expected a whole number of at least 1"),
        ({"outer": "left"}, "outer is 'left', expected weights or inputs"),
        ({"more": 1}, "expected tiles with rows, columns"),
        ({"rows": 1 << 20, "columns": 1 << 20}, "do not fit target 'edge'"),
    ],
)
def test_impossible_tiles_are_refused(
    graph: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    ((region, entry),) = _tile(_linear(graph)).chosen.items()
    entry["tiles"].update(change)
    file = tmp_path / "mapping.yaml"
    file.write_text(to_yaml("edge", {region: entry}), encoding="utf-8")
    with pytest.raises(CompilationError, match=message):
        _tile(_linear(graph), file)


@pytest.mark.parametrize("content", ["", "- 1", "regions: 3", "regions: [{tiles: {}}]", "a: ["])
def test_a_file_that_is_no_mapping_is_refused(graph: Any, tmp_path: Path, content: str) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CompilationError, match="mapping file"):
        _tile(_linear(graph), file)
    with pytest.raises(CompilationError, match="can not be read"):
        _tile(_linear(graph), tmp_path / "missing.yaml")


def test_choices_are_kept_between_processes(
    graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIRIH_CACHE", str(tmp_path))
    monkeypatch.setattr(mapping, "_KNOWN", {})
    first = _tile(_linear(graph)).chosen
    monkeypatch.setattr(mapping, "_KNOWN", {})
    monkeypatch.setattr(mapping, "_FILES", {})
    monkeypatch.setattr(choice, "search", lambda *_: pytest.fail("searched again"))
    assert _tile(_linear(graph)).chosen == first
    # A damaged file holds nothing: the search is made again.
    (file,) = tmp_path.glob("mapping-*.json")
    file.write_text("{", encoding="utf-8")
    monkeypatch.setattr(mapping, "_KNOWN", {})
    monkeypatch.setattr(mapping, "_FILES", {})
    monkeypatch.setattr(choice, "search", search)
    assert _tile(_linear(graph)).chosen == first
    assert yaml.safe_load(to_yaml("edge", first))["target"] == "edge"
