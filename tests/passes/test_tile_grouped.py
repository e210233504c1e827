"""Grouped-query attention: query heads that share a key/value head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from girih.runtime.target import Target

MakeTarget = Callable[..., Target]

TARGETS = [
    {},
    {"array": (5, 7), "scratchpad_bytes": 8192, "accumulator_bytes": 1024, "lanes": 3},
    {"array": (24, 24), "scratchpad_bytes": 16384, "accumulator_bytes": 8192},
]
each_target = pytest.mark.parametrize("changes", TARGETS, ids=["small", "odd", "wide"])


def noise(seed: int, *shape: int, dtype: Any = np.int8) -> Any:
    """Random integers over the whole range of a type."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape, dtype)


@each_target
@pytest.mark.parametrize("mask", [None, "row", "head", "full"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [1, 19])
def test_attention_with_shared_heads(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    mask: str | None,
    causal: bool,
    queries: int,
) -> None:
    batch, heads, shared, keys = 2, 6, 2, 41
    inputs = [
        noise(1, batch, queries, heads, 12),
        noise(2, batch, keys, shared, 12),
        noise(3, batch, keys, shared, 9),
    ]
    if mask is not None:
        sizes = {"row": (1, 1, 1, keys), "head": (1, heads, 1, keys)}.get(
            mask, (batch, heads, queries, keys)
        )
        inputs.append(np.random.default_rng(4).random(sizes) < 0.7)
    g = graph(inputs)
    visible = g.arguments[3] if mask is not None else None
    g.finish(g.attention(*g.arguments[:3], causal=causal, mask=visible))
    g.check(make_target(**changes))


@pytest.mark.parametrize(("scratchpad", "keys"), [(6, 400), (3, 700), (2, 900)])
@pytest.mark.parametrize("queries", [1, 7])
def test_shared_heads_in_little_memory(
    graph: Any, make_target: MakeTarget, scratchpad: int, keys: int, queries: int
) -> None:
    inputs = [noise(1, 1, queries, 4, 8), noise(2, 1, keys, 2, 8), noise(3, 1, keys, 2, 8)]
    g = graph(inputs)
    g.finish(g.attention(*g.arguments, causal=True))
    g.check(make_target(array=(4, 4), scratchpad_bytes=scratchpad * 1024, accumulator_bytes=1024))


def test_one_query_reads_each_key_once(graph: Any) -> None:
    """Decoding: eight query heads on two key/value heads."""
    g = graph([noise(1, 1, 1, 8, 64), noise(2, 1, 300, 2, 64), noise(3, 1, 300, 2, 64)])
    g.finish(g.attention(*g.arguments))
    statistics = g.check(Target.load("edge"))
    assert statistics.dram_read_bytes == 8 * 64 + 2 * 2 * 300 * 64
