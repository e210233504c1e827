"""A product, a norm and the products after it, block of rows by block of rows: same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from girih.passes.tiling.row_block import RowBlockTiler
from girih.passes.tiling.row_block_cost import RowBlockTiles
from girih.runtime.target import Target


def noise(seed: int, *shape: int, dtype: Any = np.int16) -> Any:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape, dtype)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.integers(1, 90),
    depth=st.integers(1, 40),
    hidden=st.integers(1, 70),
    block=st.integers(1, 90),
    tile=st.integers(1, 40),
    columns=st.integers(1, 70),
    after=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    before=st.booleans(),
    follows=st.booleans(),
    kept=st.booleans(),
    several=st.booleans(),
    sides=st.sampled_from([(8, 8), (5, 7)]),
    groups=st.integers(1, 3),
    seed=st.integers(0, 1 << 16),
)
def test_any_choice_of_tiles_gives_the_same_integers(
    graph: Any,
    make_target: Any,
    forced: Any,
    rows: int,
    depth: int,
    hidden: int,
    block: int,
    tile: int,
    columns: int,
    after: tuple[int, int],
    before: bool,
    follows: bool,
    kept: bool,
    several: bool,
    sides: tuple[int, int],
    groups: int,
    seed: int,
) -> None:
    """Also those that nobody would choose; hazards are checked in all."""
    target = make_target(array=sides, scratchpad_bytes=1 << 17, accumulator_bytes=1 << 15)
    block = min(block, rows)
    tiles = RowBlockTiles(
        block, min(tile, block), columns, min(after[0], depth), min(after[1], hidden)
    )
    g = graph([noise(seed, rows, depth), noise(seed + 1, rows, 9, dtype=np.int8)], seed)
    x, source = g.arguments
    if before:
        x = g.add(x, g.linear(source, depth, "i16"))
    normal = g.layer_norm(x)
    total = x
    if not follows:
        result = g.gelu(g.linear(normal, hidden, "i16"))
    else:
        for _ in range(groups):
            total = g.add(total, g.linear(g.gelu(g.linear(normal, hidden, "i16")), depth, "i16"))
        result = total
    results = [result, *([x] if before and groups == 1 else [])]
    results += [normal] if kept else []
    results += [g.linear(normal, 11)] if several else []
    g.finish(*results)
    with forced(tiles, RowBlockTiler):
        g.check(target)


def test_what_lies_between_stays_on_chip(graph: Any, forced: Any) -> None:
    """Of an MLP with its norm: the input is read, and again as residual; weights once a block."""
    g = graph([noise(1, 128, 64)])
    x = g.arguments[0]
    hidden = g.gelu(g.linear(g.layer_norm(x), 256, "i16"))
    g.finish(g.add(x, g.linear(hidden, 64, "i16")))
    with forced(RowBlockTiles(64, 32, 64, 32, 128), RowBlockTiler):
        statistics = g.check(Target.load("edge"))
    assert statistics.dram_write_bytes == 128 * 64 * 2
    weights = 256 * (64 + 12 + 8) + 4096 + 64 * (256 + 12)
    assert statistics.dram_read_bytes == 2 * 128 * 64 * 2 + 8 * 64 + 2 * weights


def test_groups_of_an_mlp_keep_the_residual_stream_on_chip(graph: Any, forced: Any) -> None:
    """Of a product, a norm and an MLP in groups: each row is read once and written once."""
    g = graph([noise(1, 128, 64), noise(2, 128, 64, dtype=np.int8)])
    x, source = g.arguments
    total = g.add(x, g.linear(source, 64, "i16"))
    normal = g.layer_norm(total)
    for _ in range(4):
        hidden = g.gelu(g.linear(normal, 128, "i16"))
        total = g.add(total, g.linear(hidden, 64, "i16"))
    g.finish(total)
    with forced(RowBlockTiles(64, 32, 64, 32, 128), RowBlockTiler):
        statistics = g.check(Target.load("edge"))
    assert statistics.dram_write_bytes == 128 * 64 * 2
    group = 128 * (64 + 12 + 8) + 4096 + 64 * (128 + 12)
    weights = 64 * (64 + 12) + 4 * group
    assert statistics.dram_read_bytes == 128 * 64 * (2 + 1) + 8 * 64 + 2 * weights


@pytest.mark.parametrize("where", ["before", "norm", "hidden"])
def test_rows_that_are_joined_end_a_region(graph: Any, where: str) -> None:
    """As where patches are merged: a row of the next product is four rows of what it reads."""
    g = graph([noise(1, 64, 32, dtype=np.int8)])
    x = g.linear(g.arguments[0], 32, "i16")
    x = g.reshape(x, 16, 128) if where == "before" else x
    normal = g.layer_norm(x)
    normal = g.reshape(normal, 16, 128) if where == "norm" else normal
    hidden = g.gelu(g.linear(normal, 128, "i16"))
    hidden = g.reshape(hidden, 16, 512) if where == "hidden" else hidden
    g.finish(g.linear(hidden, 32))
    g.check(Target.load("edge"))
