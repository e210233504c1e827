"""Weights of 4 bits: unpacked on their way to the scratchpad, in every kind of region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from girih.dialects import mfm
from girih.passes.tiling.normed_product import NormedProductTiler
from girih.passes.tiling.product_cost import ProductTiles
from girih.passes.tiling.row_block import RowBlockTiler
from girih.passes.tiling.row_block_cost import RowBlockTiles
from girih.runtime.target import Target

MakeTarget = Callable[..., Target]
TRIES = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def noise(seed: int, *shape: int, dtype: Any = np.int8) -> Any:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape, dtype)


def packed(graph: Any, *inputs: Any) -> Any:
    g = graph(list(inputs))
    g.packs = True
    return g


@pytest.mark.parametrize("target", ["edge", "small", "cloud"])
def test_half_the_bytes_of_weights_are_read(graph: Any, target: str) -> None:
    """17 bytes for 32 weights; one row of inputs is little beside them, read twice or not."""
    g = packed(graph, noise(1, 1, 384))
    g.finish(g.linear(g.arguments[0], 256))
    statistics = g.check(Target.load(target))
    weights = 256 * (384 // 32 * 17 + 12)
    assert weights + 384 <= statistics.dram_read_bytes <= weights + 8 * 384


@TRIES
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    groups=st.integers(1, 5),
    tile=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 5)),
    outer=st.sampled_from(["weights", "inputs"]),
    held=st.booleans(),
    sides=st.sampled_from([(8, 8), (16, 8), (5, 7)]),
)
def test_products(
    graph: Any,
    make_target: MakeTarget,
    forced: Any,
    rows: int,
    columns: int,
    groups: int,
    tile: tuple[int, int, int],
    outer: str,
    held: bool,
    sides: tuple[int, int],
) -> None:
    """Whatever the tiles, as long as parts of the depth are whole groups."""
    target = make_target(array=sides, scratchpad_bytes=1 << 17, accumulator_bytes=1 << 15)
    size = min(tile[0], rows), min(tile[1], columns), 32 * min(tile[2], groups)
    is_whole = size[2] == 32 * groups
    is_held = held or is_whole
    outer = outer if is_held else "weights"
    block = size[1] if outer == "weights" else size[0]
    tiles = ProductTiles(*size, outer, block, is_held=is_held)
    g = packed(graph, noise(rows, rows, 32 * groups))
    g.finish(g.gelu(g.linear(g.arguments[0], columns, "i16")))
    with forced(tiles):
        g.check(target)


@TRIES
@given(
    rows=st.integers(1, 60),
    groups=st.integers(1, 3),
    block=st.integers(1, 60),
    columns=st.integers(1, 64),
    after=st.tuples(st.integers(1, 40), st.integers(1, 3)),
    several=st.integers(1, 3),
    region=st.sampled_from([RowBlockTiler, NormedProductTiler]),
)
def test_chains(
    graph: Any,
    make_target: MakeTarget,
    forced: Any,
    rows: int,
    groups: int,
    block: int,
    columns: int,
    after: tuple[int, int],
    several: int,
    region: Any,
) -> None:
    """A product, a norm and an MLP in groups of hidden columns."""
    target = make_target(array=(8, 8), scratchpad_bytes=1 << 17, accumulator_bytes=1 << 15)
    depth, hidden = 32 * groups, 64
    tiles = RowBlockTiles(
        min(block, rows), min(16, rows), columns, min(after[0], depth), min(32 * after[1], hidden)
    )
    g = packed(graph, noise(1, rows, depth, dtype=np.int16), noise(2, rows, 32))
    total = g.add(g.arguments[0], g.linear(g.arguments[1], depth, "i16"))
    normal = g.layer_norm(total)
    for _ in range(several):
        inner = g.gelu(g.linear(normal, hidden, "i16"))
        total = g.add(total, g.linear(inner, depth, "i16"))
    g.finish(total)
    with forced(tiles, region):
        g.check(target)


def test_rows_of_a_table(graph: Any) -> None:
    """A table of 4 bits is read a row at a time, by its index."""
    g = packed(graph, np.array([3, 0, 49, 3], np.int32))
    table = g.packed_weights(50, 96)
    scales = np.stack([np.zeros(50), np.full(50, 1 << 30), np.full(50, 31)], axis=1)
    parameters = g.parameter(scales.astype(np.int32))
    kind = g._type((4, 96), np.int16)
    g.finish(g.build(lambda: mfm.IntegerEmbeddingOp(g.arguments[0], table, parameters, kind)))
    statistics = g.check(Target.load("small"))
    assert statistics.dram_read_bytes == 4 * (51 + 12 + 2 * 4)


def test_a_search_keeps_groups_whole(graph: Any, make_target: MakeTarget) -> None:
    """On arrays whose side is no multiple of a group, with little memory: the depth is cut."""
    target = make_target(array=(12, 12), scratchpad_bytes=12 * 1024, accumulator_bytes=4096)
    g = packed(graph, noise(3, 40, 1024))
    g.finish(g.linear(g.arguments[0], 100))
    g.check(target)
