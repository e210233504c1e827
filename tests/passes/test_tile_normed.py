"""A norm with the products that read it: the same integers, fewer bytes, and only where it pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from girih.passes.tiling.cost import Product
from girih.passes.tiling.normed_cost import NormedProducts, NormedTiles, normed_candidates
from girih.passes.tiling.normed_product import NormedProductTiler
from girih.passes.tiling.search import price
from girih.runtime.target import Target

MakeTarget = Callable[..., Target]
TRIES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def noise(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(-(1 << 15), 1 << 15, shape, np.int16)


def test_one_read_serves_all_products(graph: Any) -> None:
    """Queries, keys and values of one norm: the norm's result never leaves the chip."""
    moved: list[int] = []
    for fuse in (True, False):
        g = graph([noise(1, 200, 96)])
        normal = g.layer_norm(g.arguments[0])
        g.finish(*(g.linear(normal, 96) for _ in range(3)))
        moved.append(g.check(Target.load("edge"), fuse).dram_read_bytes)
    rows, weights = 200 * 96, 3 * 96 * (96 + 12) + 8 * 96
    assert moved == [2 * rows + weights, 5 * rows + weights]


@TRIES
@given(
    rows=st.integers(1, 70),
    depth=st.integers(1, 60),
    columns=st.lists(st.integers(1, 70), min_size=1, max_size=3),
    sides=st.sampled_from([(8, 8), (8, 16), (5, 7)]),
    kib=st.sampled_from([16, 24, 64]),
    tile=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70)),
    kept=st.booleans(),
    gelu=st.booleans(),
    residual=st.booleans(),
    uncentered=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_any_choice_of_tiles_gives_the_same_integers(
    graph: Any,
    make_target: MakeTarget,
    forced: Any,
    rows: int,
    depth: int,
    columns: list[int],
    sides: tuple[int, int],
    kib: int,
    tile: tuple[int, int, int],
    kept: bool,
    gelu: bool,
    residual: bool,
    uncentered: bool,
    seed: int,
) -> None:
    """Also those that the cost model would not choose; hazards are checked in all."""
    target = make_target(array=sides, scratchpad_bytes=kib * 1024, accumulator_bytes=32 * 1024)
    tiles = NormedTiles(min(tile[0], rows), min(tile[1], sum(columns)), min(tile[2], sum(columns)))

    with forced(tiles, NormedProductTiler):
        g = graph([noise(seed, rows, depth), noise(seed + 1, rows, columns[0])], seed)
        x, other = g.arguments
        normal = g.rms_norm(x) if uncentered else g.layer_norm(x)
        results = [g.linear(normal, count, "i16") for count in columns]
        results[-1] = g.gelu(results[-1]) if gelu else results[-1]
        results[0] = g.add(results[0], other) if residual else results[0]
        g.finish(*results, *([normal] if kept else []))
        g.check(target)


def described(rows: int, *columns: int, depth: int = 384) -> NormedProducts:
    return NormedProducts(tuple(Product(rows, count, depth, 1) for count in columns), False)


def test_weights_that_do_not_fit_take_several_passes() -> None:
    target = Target.load("edge")
    tiles = min(normed_candidates(described(1500, 1536), target), key=lambda each: each.guess).tiles
    passes = tiles.passes(described(1500, 1536))
    assert len(passes) == 2
    (first,), (second,) = passes
    assert (first.first, second.first) == (0, first.count)
    assert first.count + second.count == 1536


@pytest.mark.parametrize("rows", [1, 40, 600])
def test_a_region_is_chosen_where_it_pays(graph: Any, rows: int) -> None:
    """By the machine's own clock and traffic, never by habit."""
    costs: list[float] = []
    target = Target.load("edge")
    for fuse in (True, False):
        g = graph([noise(1, rows, 384)])
        normal = g.layer_norm(g.arguments[0])
        g.finish(*(g.linear(normal, 384) for _ in range(3)))
        compiled = g.compile(target, fuse)
        found = compiled.machine.run(compiled.kernel.program, functional=False)
        moved = found.counts.dram_read_bytes + found.counts.dram_write_bytes
        costs.append(price(target, found.cycles, moved))
    assert costs[0] <= costs[1]


def test_parts_of_several_products_share_a_pass() -> None:
    passes = NormedTiles(8, 8, 50).passes(described(8, 30, 40, 30))
    assert [[(part.product, part.count) for part in each] for each in passes] == [
        [(0, 30), (1, 20)],
        [(1, 20), (2, 30)],
    ]
