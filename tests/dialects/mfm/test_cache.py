"""Key-value caches: rules and meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

CACHE, POSITION, ROWS = "2x6x3xi8", "2xi64", "2x2x3xi8"


def test_cache_update_is_accepted(operations: Any) -> None:
    for element in ("f32", "i8", "i16"):
        operands = [f"2x6x3x{element}", "2xi32", f"2x2x3x{element}"]
        assert operations.problems("cache_update", operands, f"2x6x3x{element}") == []


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        ([CACHE, "2xf32", ROWS], CACHE, "position has element type f32, expected i32 or i64"),
        ([CACHE, POSITION, "2x2x3xi16"], CACHE, "rows has element type i16, expected i8"),
        ([CACHE, POSITION, ROWS], "2x6x3xi16", "result has element type i16, expected i8"),
        ([CACHE, "3xi64", ROWS], CACHE, "rows has shape [2, 2, 3], expected [2, 3, 3]"),
        ([CACHE, POSITION, ROWS], "2x7x3xi8", "result has shape [2, 7, 3], expected [2, 6, 3]"),
        (["6xi8", POSITION, ROWS], "6xi8", "cache has rank 1, expected at least 2"),
    ],
)
def test_cache_update_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert operations.problems("cache_update", operands, result) == [problem]


def test_cache_update_is_index_copy(operations: Any) -> None:
    rng = np.random.default_rng(0)
    cache = rng.integers(-128, 128, (2, 6, 3), np.int8)
    rows = rng.integers(-128, 128, (2, 2, 3), np.int8)
    before = cache.copy()
    position = np.array([5, 1])
    found = operations.run("cache_update", [cache, position, rows], CACHE)
    expected = torch.from_numpy(cache).index_copy(
        1, torch.from_numpy(position), torch.from_numpy(rows)
    )
    np.testing.assert_array_equal(found, expected.numpy())
    np.testing.assert_array_equal(cache, before)


@pytest.mark.parametrize("position", [-1, 6])
def test_a_position_outside_the_cache_is_an_error(operations: Any, position: int) -> None:
    inputs = [np.zeros((2, 6, 3), np.int8), np.array([0, position]), np.zeros((2, 2, 3), np.int8)]
    with pytest.raises(IndexError, match=rf"position \[0, {position}\] is outside a cache of 6"):
        operations.run("cache_update", inputs, CACHE)
