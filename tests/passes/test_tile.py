"""Tiled machine code gives the integers of `reference()`, whatever the shapes and the target.

The simulator checks every access meanwhile: in range, initialized, and ordered by waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from girih.runtime.errors import GirihError
from girih.runtime.target import Target

TRIES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

SEED = st.integers(0, 1 << 16)
ELEMENT = st.sampled_from(["i8", "i16"])

MakeTarget = Callable[..., Target]


@st.composite
def targets(draw: st.DrawFn) -> dict[str, Any]:
    """Changes to the small target: arrays of any shape, memories down to a few KiB."""
    return {
        "array": draw(st.sampled_from([(4, 4), (8, 16), (16, 8), (24, 24), (5, 7)])),
        "scratchpad_bytes": draw(st.sampled_from([8, 16, 24, 64])) * 1024,
        "accumulator_bytes": draw(st.sampled_from([1, 2, 8, 32])) * 1024,
        "lanes": draw(st.sampled_from([1, 3, 16])),
    }


def noise(seed: int, *shape: int, dtype: Any = np.int8) -> Any:
    """Random integers over the whole range of a type."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape, dtype)


@TRIES
@given(
    changes=targets(),
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    depth=st.integers(1, 150),
    element=ELEMENT,
    seed=SEED,
)
def test_linear(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    rows: int,
    columns: int,
    depth: int,
    element: str,
    seed: int,
) -> None:
    g = graph([noise(seed, rows, depth)], seed)
    g.finish(g.linear(g.arguments[0], columns, element))
    g.check(make_target(**changes))


@pytest.mark.parametrize(
    ("rows", "columns", "depth"), [(1, 300, 2000), (3, 40, 5000), (40, 7, 999)]
)
def test_linear_splits_a_depth_that_does_not_fit(
    graph: Any, make_target: MakeTarget, rows: int, columns: int, depth: int
) -> None:
    g = graph([noise(1, rows, depth)])
    g.finish(g.linear(g.arguments[0], columns))
    g.check(make_target(array=(8, 8), scratchpad_bytes=4096, accumulator_bytes=1024))


@TRIES
@given(
    changes=targets(),
    batch=st.integers(1, 2),
    length=st.integers(5, 60),
    channels=st.integers(1, 24),
    outputs=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    element=ELEMENT,
    seed=SEED,
)
def test_conv1d(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    batch: int,
    length: int,
    channels: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int,
    element: str,
    seed: int,
) -> None:
    g = graph([noise(seed, batch, length, channels)], seed)
    g.finish(g.conv1d(g.arguments[0], outputs, kernel, stride, padding, element))
    g.check(make_target(**changes))


@TRIES
@given(
    changes=targets(),
    rows=st.integers(1, 50),
    width=st.integers(1, 130),
    element=ELEMENT,
    seed=SEED,
)
def test_row_by_row(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    rows: int,
    width: int,
    element: str,
    seed: int,
) -> None:
    g = graph(
        [noise(seed, rows, width, dtype=np.int16), noise(seed + 1, rows, width, dtype=np.int8)],
        seed,
    )
    wide, narrow = g.arguments
    g.finish(
        g.layer_norm(wide, element),
        g.gelu(wide, element),
        g.add(wide, narrow, element),
        g.rescale(narrow, "i16"),
        g.rescale(wide, "i8"),
    )
    g.check(make_target(**changes))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 9, 12), (9, 12)),
        ((2, 9, 12), (1, 9, 12)),
        ((9, 12), (12,)),
        ((3, 4, 5, 6), (5, 6)),
        ((9, 12), (1, 12)),
    ],
)
def test_add_broadcasts_a_constant(
    graph: Any, make_target: MakeTarget, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    g = graph([noise(3, *left, dtype=np.int16)])
    constant = g.parameter(noise(4, *right, dtype=np.int16))
    g.finish(g.add(g.arguments[0], constant), g.add(constant, g.arguments[0]))
    g.check(make_target())


@TRIES
@given(
    changes=targets(),
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    queries=st.integers(1, 40),
    keys=st.integers(1, 70),
    depth=st.integers(1, 20),
    value_depth=st.integers(1, 20),
    causal=st.booleans(),
    mask=st.sampled_from([None, "bool", "int8", "row", "head"]),
    seed=SEED,
)
def test_attention(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    depth: int,
    value_depth: int,
    causal: bool,
    mask: str | None,
    seed: int,
) -> None:
    inputs = [
        noise(seed, batch, queries, heads, depth),
        noise(seed + 1, batch, keys, heads, depth),
        noise(seed + 2, batch, keys, heads, value_depth),
    ]
    if mask is not None:
        sizes = {
            "row": (1, 1, 1, keys),
            "head": (1, heads, queries, keys),
        }.get(mask, (batch, 1, queries, keys))
        visible = np.random.default_rng(seed).random(sizes) < 0.7
        inputs.append(visible if mask == "bool" else visible.astype(np.int8))
    g = graph(inputs, seed)
    mask_value = g.arguments[3] if mask is not None else None
    g.finish(g.attention(*g.arguments[:3], causal=causal, mask=mask_value))
    g.check(make_target(**changes))


@pytest.mark.parametrize(
    ("scratchpad", "keys"),
    [(16, 200), (6, 400), (3, 700), (2, 900)],
    ids=["resident", "streamed", "one tile of keys", "one tile of keys, few queries"],
)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_in_little_memory(
    graph: Any, make_target: MakeTarget, scratchpad: int, keys: int, causal: bool
) -> None:
    inputs = [noise(1, 1, 19, 2, 8), noise(2, 1, keys, 2, 8), noise(3, 1, keys, 2, 8)]
    g = graph(inputs)
    g.finish(g.attention(*g.arguments, causal=causal))
    g.check(make_target(array=(4, 4), scratchpad_bytes=scratchpad * 1024, accumulator_bytes=1024))


def test_attention_scores_never_go_to_dram(graph: Any) -> None:
    inputs = [noise(1, 1, 300, 2, 64), noise(2, 1, 300, 2, 64), noise(3, 1, 300, 2, 64)]
    g = graph(inputs)
    g.finish(g.attention(*g.arguments))
    statistics = g.check(Target.load("edge"))
    assert statistics.dram_write_bytes == 300 * 2 * 64
    assert statistics.dram_read_bytes == 3 * 300 * 2 * 64


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("count", [1, 5])
def test_embeddings(graph: Any, make_target: MakeTarget, dtype: Any, count: int) -> None:
    indices = np.random.default_rng(1).integers(0, 30, (2, count)).astype(dtype)
    g = graph([indices])
    table = g.parameter(noise(5, 30, 12, dtype=np.int16))
    g.finish(g.embedding(g.arguments[0], table), g.integer_embedding(g.arguments[0], 30, 17))
    g.check(make_target())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("sizes", [(3, 4), (12,)])
def test_cache_update_keeps_an_argument_intact(
    graph: Any, make_target: MakeTarget, batch: int, sizes: tuple[int, ...]
) -> None:
    cache = noise(1, batch, 20, *sizes)
    rows = noise(2, batch, 3, *sizes)
    g = graph([cache, np.array([4, 19, 0], np.int64), rows])
    g.finish(g.cache_update(*g.arguments))
    g.check(make_target())


def test_cache_that_is_a_state_is_updated_in_place(graph: Any, make_target: MakeTarget) -> None:
    cache = noise(1, 1, 20, 3, 4)
    g = graph([cache, np.array([7], np.int64), noise(2, 1, 1, 3, 4)], states=["cache"])
    g.finish(g.cache_update(*g.arguments), states=["cache"])
    (expected,) = g.reference()
    compiled = g.compile(make_target())
    _, statistics = compiled.run()
    (state,) = [tensor for tensor in compiled.kernel.dram if tensor.role == "state"]
    found = compiled.machine.read_array(state.address, state.shape, state.dtype)
    np.testing.assert_array_equal(found, expected)
    # The new row alone moves: the other rows are where they stay.
    assert statistics.dram_write_bytes == 12


def test_state_is_read_after_it_is_updated(graph: Any, make_target: MakeTarget) -> None:
    """A decoder's step: new keys enter the cache, then attention reads all of it."""
    key, value = noise(1, 1, 24, 2, 8), noise(2, 1, 24, 2, 8)
    x = noise(3, 1, 1, 16)
    mask = (np.arange(24) <= 9)[None, None, None]
    g = graph([key, value, x, np.array([9], np.int64), mask], states=["key", "value"])
    keys, values, rows, position, visible = g.arguments
    keys = g.cache_update(keys, position, g.reshape(g.linear(rows, 16), 1, 1, 2, 8))
    values = g.cache_update(values, position, g.reshape(g.linear(rows, 16), 1, 1, 2, 8))
    query = g.reshape(g.linear(rows, 16), 1, 1, 2, 8)
    mixed = g.attention(query, keys, values, mask=visible)
    out = g.linear(g.reshape(mixed, 1, 1, 16), 16)
    g.finish(keys, values, out, states=["key", "value"])
    expected = g.reference()[2]
    (found,), _ = g.compile(make_target()).run()
    np.testing.assert_array_equal(found, expected)


def _block(g: Any, x: Any, heads: int, hidden: int) -> Any:
    batch, length, width = g.shape(x)
    normal = g.layer_norm(x, layer="norm1")
    split = (batch, length, heads, width // heads)
    q, k, v = (g.reshape(g.linear(normal, width, layer=name), *split) for name in "qkv")
    mixed = g.reshape(g.attention(q, k, v, layer="attention"), batch, length, width)
    x = g.add(x, g.linear(mixed, width, "i16", layer="out"), layer="residual1")
    normal = g.layer_norm(x, layer="norm2")
    inner = g.gelu(g.linear(normal, hidden, "i16", layer="fc1"), layer="gelu")
    return g.add(x, g.linear(inner, width, "i16", layer="fc2"), layer="residual2")


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", ["edge", "small", "hand-changed"])
def test_transformer_block(graph: Any, hand_changed: Target, name: str, fuse: bool) -> None:
    target = hand_changed if name == "hand-changed" else Target.load(name)
    g = graph([noise(1, 1, 75, 96, dtype=np.int16)])
    g.finish(_block(g, g.arguments[0], 3, 200))
    g.check(target, fuse)


@TRIES
@given(
    changes=targets(),
    length=st.integers(1, 30),
    heads=st.integers(1, 3),
    depth=st.integers(1, 9),
    hidden=st.integers(1, 60),
    fuse=st.booleans(),
    seed=SEED,
)
def test_transformer_block_anywhere(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    length: int,
    heads: int,
    depth: int,
    hidden: int,
    fuse: bool,
    seed: int,
) -> None:
    g = graph([noise(seed, 1, length, heads * depth, dtype=np.int16)], seed)
    g.finish(_block(g, g.arguments[0], heads, hidden))
    g.check(make_target(**changes), fuse)


def test_fusion_keeps_what_lies_between_on_chip(graph: Any) -> None:
    moved: list[int] = []
    for fuse in (True, False):
        g = graph([noise(1, 1, 64, 64)])
        g.finish(g.gelu(g.linear(g.arguments[0], 128, "i16")))
        statistics = g.check(Target.load("edge"), fuse)
        moved.append(statistics.dram_write_bytes)
    assert moved == [64 * 128, 64 * 128 * 3]


@pytest.mark.parametrize("kind", ["linear", "attention", "layer_norm"])
def test_target_that_is_too_small_is_refused_in_one_sentence(
    graph: Any, make_target: MakeTarget, kind: str
) -> None:
    target = make_target(scratchpad_bytes=256, accumulator_bytes=256)
    if kind == "attention":
        g = graph([noise(1, 1, 4, 2, 64)] * 3)
        g.finish(g.attention(*g.arguments, layer="decoder.attention"))
    elif kind == "linear":
        g = graph([noise(1, 4, 64)])
        middle = g.linear(g.arguments[0], 64, "i16", layer="decoder.linear")
        g.finish(g.gelu(middle))
    else:
        g = graph([noise(1, 4, 640, dtype=np.int16)])
        g.finish(g.layer_norm(g.arguments[0], layer="decoder.layer_norm"))
    with pytest.raises(GirihError, match=f"decoder.{kind}") as refused:
        g.compile(target)
    assert "\n" not in str(refused.value)
    assert "256" in str(refused.value)
