"""Attention on chip: all tiles give the same integers, and those that are chosen move little."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from girih.passes.tiling.attention_cost import AttentionTiles
from girih.runtime.target import Target

GENEROUS = {"array": (8, 8), "scratchpad_bytes": 1 << 20, "accumulator_bytes": 1 << 18}


def noise(seed: int, *shape: int) -> Any:
    """Random int8."""
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),  # each try takes a second: what fails is small enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    queries=st.sampled_from([1, 2, 7, 24, 65, 130]),
    keys=st.sampled_from([1, 40, 64, 65, 128, 200, 330]),
    heads=st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]),
    rows=st.integers(1, 40),
    count=st.integers(1, 5),
    groups=st.integers(1, 3),
    held=st.integers(1, 8),
    sums=st.integers(1, 2),
    causal=st.booleans(),
    mask=st.sampled_from([None, "row", "head", "full"]),
    seed=st.integers(0, 1 << 16),
)
def test_every_choice_of_tiles(
    graph: Any,
    make_target: Any,
    forced: Any,
    queries: int,
    keys: int,
    heads: tuple[int, int],
    rows: int,
    count: int,
    groups: int,
    held: int,
    sums: int,
    causal: bool,
    mask: str | None,
    seed: int,
) -> None:
    """Also those that the cost model would never take."""
    own, shared = heads
    inputs: list[Any] = [noise(seed, 1, queries, own, 8)]
    inputs += [noise(seed + n, 1, keys, shared, 8) for n in (1, 2)]
    if mask is not None:
        sizes = {"row": (1, 1, 1, keys), "head": (1, own, queries, keys)}
        visible = np.random.default_rng(seed).random(sizes.get(mask, (1, 1, queries, keys))) < 0.7
        inputs.append(visible)
    g = graph(inputs, seed)
    g.finish(
        g.attention(*g.arguments[:3], causal=causal, mask=None if mask is None else g.arguments[3])
    )
    groups = min(groups, math.ceil(keys / 64))
    size = min(rows, queries if queries > 1 else own // shared)
    tiles = AttentionTiles(size, count, groups, held, sums)
    with forced(tiles):
        g.check(make_target(**GENEROUS))


ENCODER = (1500, 1500, 64, 6)


@pytest.mark.parametrize(
    ("name", "sizes", "megabytes", "limit"),
    [
        # Queries, keys, values and the result once; on `small`, keys and values five times.
        ("edge", ENCODER, 2.304, 1.02),
        ("small", ENCODER, 6.912, 1.02),
        ("edge", (4096, 4096, 64, 2), 4.2, 1.02),
        ("small", (4096, 4096, 64, 2), 16, 1.02),
        ("edge", (1500, 448, 64, 6), 1.5, 1.05),
        ("edge", (640, 640, 128, 4), 1.32, 1.03),
    ],
)
def test_long_attention_is_bound_by_the_array(
    graph: Any, name: str, sizes: tuple[int, ...], megabytes: float, limit: float
) -> None:
    queries, keys, depth, heads = sizes
    g = graph([np.zeros((1, n, heads, depth), np.int8) for n in (queries, keys, keys)])
    g.finish(g.attention(*g.arguments))
    target = Target.load(name)
    compiled = g.compile(target)
    found = compiled.machine.run(compiled.kernel.program, functional=False)
    work = 2 * math.prod(sizes) / target.macs_per_cycle
    assert found.cycles <= limit * work
    assert found.dram_read_bytes + found.dram_write_bytes <= megabytes * 1e6


@pytest.mark.parametrize("name", ["edge", "small"])
def test_one_query_is_bound_by_bandwidth(graph: Any, name: str) -> None:
    """Decoding: all keys of a head, once."""
    g = graph([np.zeros((1, n, 6, 64), np.int8) for n in (1, 1024, 1024)])
    g.finish(g.attention(*g.arguments))
    target = Target.load(name)
    compiled = g.compile(target)
    found = compiled.machine.run(compiled.kernel.program, functional=False)
    assert found.cycles <= 1.08 * 2 * 1024 * 6 * 64 / target.dram_bytes_per_cycle


def test_causal_attention_skips_what_no_query_sees(graph: Any) -> None:
    g = graph([np.zeros((1, 640, 8, 64), np.int8) for _ in range(3)])
    g.finish(g.attention(*g.arguments, causal=True))
    target = Target.load("edge")
    compiled = g.compile(target)
    found = compiled.machine.run(compiled.kernel.program, functional=False)
    assert found.cycles <= 0.62 * 2 * 640 * 640 * 64 * 8 / target.macs_per_cycle
