"""Operations that move data: cache updates, lookups, shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.dialects import mfm

QUICK = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = [np.int8, np.int16, np.int32, np.float32]


def pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options (which need not be numbers, as `choice` wants them)."""
    return options[int(rng.integers(len(options)))]


def numbers(rng: np.random.Generator, dtype: Any, *sizes: int) -> Any:
    return rng.integers(-100, 100, sizes).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_cache_update(tools: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    parity = tools.parity()
    for positions, length, batch, rest in (
        ([0], 5, 1, (4,)),
        ([4], 5, 2, (4,)),
        ([0, 4, 2], 5, 2, (3, 2)),
        ([1, 1, 3, 1], 7, 1, (33,)),
        (list(range(16)), 16, 1, (8,)),
        ([2], 5, 1, ()),
    ):
        element = pick(rng, DTYPES)
        parity.add(
            lambda c, p, r: mfm.CacheUpdateOp(cache=c, position=p, rows=r, result=c.type),
            numbers(rng, element, batch, length, *rest),
            np.array(positions, dtype),
            numbers(rng, element, batch, len(positions), *rest),
        )
    # IREE clamps a position outside the cache, which the reference refuses.
    for outside, inside in (([9], [4]), ([-1], [0]), ([-(1 << 20), 1 << 20], [0, 4])):
        cache = numbers(rng, np.int8, 1, 5, 3)
        rows = numbers(rng, np.int8, 1, len(outside), 3)
        expected = cache.copy()
        expected[:, inside] = rows
        parity.add(
            lambda c, p, r: mfm.CacheUpdateOp(cache=c, position=p, rows=r, result=c.type),
            cache,
            np.array(outside, dtype),
            rows,
            expected=expected,
        )
    parity.check()


def test_embedding(tools: Any) -> None:
    rng = np.random.default_rng(2)
    parity = tools.parity()
    for element in DTYPES:
        for indices, clamped in (
            (np.array([[0, 9], [3, 3]]), None),
            (np.array([9], np.int32), None),
            (np.array(4), None),
            (np.array([-1, 10, 1 << 31]), [0, 9, 9]),
        ):
            table = numbers(rng, element, 10, 17)
            parity.add(
                lambda i, t, sizes=(*indices.shape, 17), element=element: mfm.EmbeddingOp(
                    indices=i, table=t, result=tools.tensor_type(sizes, element)
                ),
                indices,
                table,
                expected=None if clamped is None else table[clamped],
            )
    parity.check()


def reshapes(rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Two shapes with the same number of elements, ones among them."""
    factors = rng.choice([1, 2, 3, 5], rng.integers(1, 5))
    shapes: list[list[int]] = []
    for _ in range(2):
        cuts = sorted(rng.integers(0, len(factors) + 1, rng.integers(0, 4)).tolist())
        parts = np.split(rng.permutation(factors), cuts)
        shapes.append([math.prod(part.tolist()) for part in parts])
    return shapes[0], shapes[1]


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_shapes(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for _ in range(10):
        element = pick(rng, [*DTYPES, np.bool_])
        source, target = reshapes(rng)
        parity.add(
            lambda x, sizes=target, element=element: mfm.ReshapeOp(
                x=x, result=tools.tensor_type(sizes, element)
            ),
            numbers(rng, element, *source),
        )
        order = rng.permutation(len(source)).tolist()
        parity.add(
            lambda x, order=order, sizes=source, element=element: mfm.TransposeOp(
                x=x,
                result=tools.tensor_type([sizes[axis] for axis in order], element),
                permutation=ir.DenseI64ArrayAttr.get(order),
            ),
            numbers(rng, element, *source),
        )
        counts = [int(rng.integers(1, size + 1)) for size in source]
        strides = [
            int(rng.integers(1, max((size - 1) // max(count - 1, 1), 1) + 1))
            for size, count in zip(source, counts, strict=True)
        ]
        offsets = [
            int(rng.integers(0, size - (count - 1) * stride))
            for size, count, stride in zip(source, counts, strides, strict=True)
        ]
        parity.add(
            lambda x, o=offsets, s=strides, sizes=counts, element=element: mfm.SliceOp(
                x=x,
                result=tools.tensor_type(sizes, element),
                offsets=ir.DenseI64ArrayAttr.get(o),
                strides=ir.DenseI64ArrayAttr.get(s),
            ),
            numbers(rng, element, *source),
        )
    parity.check()


def test_scalar_reshapes(tools: Any) -> None:
    parity = tools.parity()
    for source, target in (((), (1, 1)), ((1, 1), ()), ((1,), (1,)), ((), ())):
        parity.add(
            lambda x, sizes=target: mfm.ReshapeOp(x=x, result=tools.tensor_type(sizes, np.float32)),
            np.full(source, 3, np.float32),
        )
    parity.check()
