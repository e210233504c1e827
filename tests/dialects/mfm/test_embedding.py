"""Table lookups: rules, meaning, and the error of the integer form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects.arithmetic import scale_to_multiplier

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("element", ["f32", "i16", "i64"])
def test_embedding_is_accepted(operations: Any, element: str) -> None:
    for indices in ("i32", "i64"):
        operands = [f"2x3x{indices}", f"9x4x{element}"]
        assert operations.problems("embedding", operands, f"2x3x4x{element}") == []


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["3xi8", "9x4xf32"], "3x4xf32", "indices has element type i8, expected i32 or i64"),
        (["3xi64", "9x4xf32"], "3x4xf16", "result has element type f16, expected f32"),
        (["3xi64", "9x4xf32"], "3x5xf32", "result has shape [3, 5], expected [3, 4]"),
        (["3xi64", "9xf32"], "3xf32", "table has rank 1, expected 2"),
    ],
)
def test_embedding_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert operations.problems("embedding", operands, result) == [problem]


def test_embedding_is_torchs(operations: Any) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((9, 4)).astype(np.float32)
    indices = rng.integers(0, 9, (2, 3))
    expected = torch.nn.functional.embedding(torch.from_numpy(indices), torch.from_numpy(table))
    found = operations.run("embedding", [indices, table], "2x3x4xf32")
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("index", [-1, 9, 2**31 - 1])
def test_an_index_outside_the_table_is_an_error(operations: Any, index: int) -> None:
    """NumPy's own meaning of -1, the last row, is not ours."""
    indices = np.array([3, index], np.int32)
    table = np.zeros((9, 4), np.int8)
    with pytest.raises(IndexError, match=f"index {index} is outside a table of 9 rows"):
        operations.run("embedding", [indices, table], "2x4xi8")
    parameters = np.ones((9, 3), np.int32)
    with pytest.raises(IndexError, match=f"index {index} is outside a table of 9 rows"):
        operations.run("integer_embedding", [indices, table, parameters], "2x4xi16")


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (
            ["3xf32", "9x4xi8", "9x3xi32"],
            "3x4xi16",
            "indices has element type f32, expected i32 or i64",
        ),
        (["3xi64", "9x4xi16", "9x3xi32"], "3x4xi16", "table has element type i16, expected i8"),
        (["3xi64", "9x4xi8", "9x3xi32"], "3x4xi8", "result has element type i8, expected i16"),
        (["3xi64", "9x4xi8", "3x9xi32"], "3x4xi16", "parameters has shape [3, 9], expected [9, 3]"),
        (["3xi64", "9x4xi8", "9x3xi32"], "4x3xi16", "result has shape [4, 3], expected [3, 4]"),
        (["3xi64", "9x4x1xi8", "9x3xi32"], "3x4xi16", "table has rank 3, expected 2"),
    ],
)
def test_integer_embedding_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert operations.problems("integer_embedding", operands, result) == [problem]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_integer_embedding_is_half_a_unit_from_exact(operations: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(-128, 128, (20, 7), np.int8)
    factors = 10.0 ** rng.uniform(-2, 2, 20)
    multiplier, shift = np.array([scale_to_multiplier(factor) for factor in factors]).T
    parameters = np.stack([np.zeros(20), multiplier, shift], axis=1).astype(np.int32)
    indices = rng.integers(0, 20, (2, 5))
    found = operations.run("integer_embedding", [indices, table, parameters], "2x5x7xi16")
    exact = np.clip((table * factors[:, None])[indices], -32768, 32767)
    assert np.abs(found - exact).max() <= 0.5 + 1e-5


def test_integer_embedding_ignores_the_first_column(operations: Any) -> None:
    """It keeps the layout of a rescale, whose bias a lookup has not."""
    parameters = np.array([[12345, 2, 1]], np.int32)
    table = np.array([[-128, 127]], np.int8)
    indices = np.zeros(1, np.int64)
    found = operations.run("integer_embedding", [indices, table, parameters], "1x2xi16")
    assert found.tolist() == [[-128, 127]]
