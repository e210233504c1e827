"""What decoders need beside test_tile.py: gates, RMS norm, products, movement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from girih.runtime.errors import GirihError
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
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 130), (7, 33), (300, 5)])
def test_multiply_and_rms_norm(
    graph: Any, make_target: MakeTarget, changes: dict[str, Any], rows: int, width: int
) -> None:
    g = graph([noise(1, rows, width, dtype=np.int16), noise(2, rows, width)])
    wide, narrow = g.arguments
    g.finish(
        g.multiply(wide, narrow),
        g.multiply(narrow, wide, "i16"),
        g.multiply(wide, wide, "i16"),
        g.rms_norm(wide),
        g.rms_norm(wide, "i16"),
    )
    g.check(make_target(**changes))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 9, 12), (9, 12)),
        ((9, 12), (12,)),
        ((3, 4, 5, 6), (5, 6)),
        ((1, 9, 4, 12), (1, 9, 1, 12)),
        ((2, 3, 4, 5, 6), (2, 3, 1, 1, 6)),
        ((9, 1, 12), (4, 12)),
        ((7, 1, 12), (7, 1, 12)),
    ],
)
def test_multiply_repeats_rows(
    graph: Any, make_target: MakeTarget, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    g = graph([noise(3, *left, dtype=np.int16)])
    constant = g.parameter(noise(4, *right, dtype=np.int16))
    g.finish(g.multiply(g.arguments[0], constant), g.multiply(constant, g.arguments[0]))
    g.check(make_target())


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("width", [5632, 9001])
def test_rows_that_do_not_fit_are_split(
    graph: Any, make_target: MakeTarget, rows: int, width: int
) -> None:
    g = graph([noise(1, rows, width, dtype=np.int16), noise(2, rows, width)])
    wide, narrow = g.arguments
    row = g.parameter(noise(3, width, dtype=np.int16))
    g.finish(
        g.multiply(wide, narrow),
        g.gelu(wide),
        g.add(wide, narrow),
        g.add(wide, row),
        g.rescale(wide, "i8"),
    )
    g.check(make_target(scratchpad_bytes=16384))


def test_intermediate_sizes_fit_the_small_target(graph: Any) -> None:
    for width in (5632, 14336):
        g = graph([noise(1, 2, width, dtype=np.int16), noise(2, 2, width)])
        g.finish(g.multiply(g.gelu(g.arguments[0]), g.arguments[1]))
        g.check(Target.load("small"))


def test_a_norm_that_does_not_fit_is_refused(graph: Any, make_target: MakeTarget) -> None:
    """Its rows can not be split: every channel depends on the whole row."""
    g = graph([noise(1, 2, 5632, dtype=np.int16)])
    g.finish(g.rms_norm(g.arguments[0], layer="decoder.norm"))
    with pytest.raises(GirihError, match=r"decoder\.norm .* 16384"):
        g.compile(make_target(scratchpad_bytes=16384))


@each_target
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("batch", "rows", "depth", "columns"),
    [((), 9, 70, 11), ((3,), 1, 40, 50), ((2, 3), 33, 5, 17), ((2,), 40, 999, 7), ((1,), 1, 1, 1)],
)
def test_matmul(
    graph: Any,
    make_target: MakeTarget,
    changes: dict[str, Any],
    transposed: bool,
    batch: tuple[int, ...],
    rows: int,
    depth: int,
    columns: int,
) -> None:
    inner = (columns, depth) if transposed else (depth, columns)
    g = graph([noise(1, *batch, rows, depth), noise(2, *batch, *inner)])
    element = "i16" if rows > 1 else "i8"
    g.finish(g.matmul(*g.arguments, element, transposed=transposed))
    g.check(make_target(**changes))


@pytest.mark.parametrize("transposed", [False, True])
def test_matmul_splits_a_depth_that_does_not_fit(
    graph: Any, make_target: MakeTarget, transposed: bool
) -> None:
    inner = (30, 3000) if transposed else (3000, 30)
    g = graph([noise(1, 3, 4, 3000), noise(2, 3, *inner)])
    g.finish(g.matmul(*g.arguments, transposed=transposed))
    g.check(make_target(array=(8, 8), scratchpad_bytes=4096, accumulator_bytes=1024))


@pytest.mark.parametrize("fuse", [True, False])
@each_target
def test_gated_block(
    graph: Any, make_target: MakeTarget, changes: dict[str, Any], fuse: bool
) -> None:
    """A decoder's feed-forward part."""
    g = graph([noise(1, 1, 21, 48, dtype=np.int16)])
    x = g.arguments[0]
    normal = g.rms_norm(x, layer="norm")
    gate = g.gelu(g.linear(normal, 100, "i16", layer="gate"), layer="gelu")
    gated = g.multiply(gate, g.linear(normal, 100, layer="up"), layer="multiply")
    g.finish(g.add(x, g.linear(gated, 48, "i16", layer="down"), layer="residual"))
    g.check(make_target(**changes), fuse)


def test_a_gate_stays_on_chip(graph: Any) -> None:
    moved: list[int] = []
    for fuse in (True, False):
        g = graph([noise(1, 64, 64), noise(2, 64, 128)])
        g.finish(g.multiply(g.arguments[1], g.linear(g.arguments[0], 128)))
        moved.append(g.check(Target.load("edge"), fuse).dram_write_bytes)
    assert moved == [64 * 128, 64 * 128 * 2]


@each_target
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_movement(graph: Any, make_target: MakeTarget, changes: dict[str, Any], dtype: Any) -> None:
    g = graph([noise(1, 3, 7, 5, 8, dtype=dtype)])
    x = g.arguments[0]
    g.finish(
        g.slice(x, (1, 0, 0, 0), (1, 1, 1, 1), (2, 7, 5, 8)),
        g.slice(x, (0, 2, 0, 0), (1, 1, 1, 1), (3, 3, 5, 8)),
        g.slice(x, (0, 0, 0, 4), (1, 1, 1, 1), (3, 7, 5, 4)),
        g.slice(x, (0, 1, 0, 3), (2, 3, 2, 1), (2, 2, 3, 2)),
        g.transpose(x, 0, 2, 1, 3),
        g.transpose(x, 2, 1, 0, 3),
        g.transpose(x, 1, 0, 2, 3),
    )
    g.check(make_target(**changes))


def test_movement_of_many_axes_and_long_rows(graph: Any, make_target: MakeTarget) -> None:
    g = graph([noise(1, 2, 3, 2, 3, 2, 3, 4), noise(2, 3, 2, 9000), noise(3, 2, 50000)])
    deep, long, contiguous = g.arguments
    g.finish(
        g.transpose(deep, 5, 4, 3, 2, 1, 0, 6),
        g.transpose(long, 1, 0, 2),
        g.slice(contiguous, (1, 0), (1, 1), (1, 50000)),
    )
    g.check(make_target(scratchpad_bytes=8192))


@each_target
def test_putting_together(graph: Any, make_target: MakeTarget, changes: dict[str, Any]) -> None:
    g = graph(
        [
            noise(1, 2, 3, 8, dtype=np.int16),
            noise(2, 2, 5, 8, dtype=np.int16),
            noise(3, 2, 1, 8, dtype=np.int16),
            noise(4, 40000, dtype=np.int8),
        ]
    )
    x, y, one, long = g.arguments
    g.finish(
        g.concatenate(1, y, y),
        g.concatenate(0, x, x),
        g.concatenate(2, x, x, x),
        g.concatenate(0, long, long),
        g.broadcast(one, 2, 6, 8),
        g.broadcast(one, 4, 2, 3, 8),
        g.broadcast(x, 2, 3, 8),
    )
    g.check(make_target(**changes))
