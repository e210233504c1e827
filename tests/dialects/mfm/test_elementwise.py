"""Elementwise arithmetic and comparison: rules, meaning, and the error of the integer form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects.mfm.elementwise import PREDICATES

SEEDS = st.integers(0, 2**32 - 1)
INTEGER = "lhs_multiplier = {} : i64, rhs_multiplier = {} : i64, shift = {} : i64"


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["4x8xf32", "4x7xf32"], "4x8xf32", "rhs of shape [4, 7] does not broadcast to [4, 8]"),
        (
            ["4x8xf32", "2x4x8xf32"],
            "4x8xf32",
            "rhs of shape [2, 4, 8] does not broadcast to [4, 8]",
        ),
        (["1x8xf32", "1xf32"], "4x8xf32", "result has shape [4, 8], expected [1, 8]"),
        (["4x8xi32", "4x8xf32"], "4x8xf32", "rhs has element type f32, expected i32"),
        (["4x8xf32", "4x8xf16"], "4x8xf32", "rhs has element type f16, expected f32"),
    ],
)
def test_add_is_refused(operations: Any, operands: list[str], result: str, problem: str) -> None:
    assert problem in operations.problems("add", operands, result)


def test_add_is_accepted(operations: Any) -> None:
    for rhs in ("4x8xf32", "8xf32", "4x1xf32", "f32"):
        assert operations.problems("add", ["4x8xf32", rhs], "4x8xf32") == []


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, shape=st.sampled_from([(3, 4, 5), (4, 5), (5,), (4, 1), ()]))
def test_add_is_torchs(operations: Any, seed: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    lhs = rng.standard_normal((3, 4, 5)).astype(np.float32)
    rhs = np.asarray(rng.standard_normal(shape), np.float32)
    expected = torch.add(torch.from_numpy(lhs), torch.from_numpy(rhs)).numpy()
    np.testing.assert_array_equal(operations.run("add", [lhs, rhs], "3x4x5xf32"), expected)


@pytest.mark.parametrize(
    ("operands", "result", "attributes", "problem"),
    [
        (["4xi32", "4xi8"], "4xi8", (1, 1, 1), "lhs has element type i32, expected i8 or i16"),
        (["4xi8", "4xf32"], "4xi8", (1, 1, 1), "rhs has element type f32, expected i8 or i16"),
        (["4xi8", "4xi8"], "4xi32", (1, 1, 1), "result has element type i32, expected i8 or i16"),
        (["4xi8", "5xi8"], "4xi8", (1, 1, 1), "rhs of shape [5] does not broadcast to [4]"),
        (["4xi8", "4xi8"], "4xi8", (1, 1, 0), "shift is 0, expected 1 to 62"),
        (["4xi8", "4xi8"], "4xi8", (-1, 1, 9), "lhs_multiplier is -1, expected 0 to 2^31 - 1"),
        (
            ["4xi8", "4xi8"],
            "4xi8",
            (1, 2**31, 9),
            "rhs_multiplier is 2147483648, expected 0 to 2^31 - 1",
        ),
    ],
)
def test_integer_add_is_refused(
    operations: Any, operands: list[str], result: str, attributes: tuple[int, ...], problem: str
) -> None:
    text = INTEGER.format(*attributes)
    assert operations.problems("integer_add", operands, result, text) == [problem]


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    elements=st.tuples(*[st.sampled_from(["int8", "int16"])] * 3),
    factors=st.tuples(*[st.floats(0, 3)] * 2),
)
def test_integer_add_is_half_a_unit_from_exact(
    operations: Any, seed: int, elements: tuple[str, ...], factors: tuple[float, float]
) -> None:
    """One rounding, however wide the operands are."""
    rng = np.random.default_rng(seed)
    lhs, rhs = (
        rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, size, kind, endpoint=True)
        for kind, size in zip(elements, [(6, 40), (40,)], strict=False)
    )
    multipliers = [round(factor * 2**29) for factor in factors]
    result = f"6x40xi{np.iinfo(elements[2]).bits}"
    found = operations.run("integer_add", [lhs, rhs], result, INTEGER.format(*multipliers, 29))
    limits = np.iinfo(found.dtype)
    exact = lhs.astype(np.float64) * factors[0] + rhs.astype(np.float64) * factors[1]
    assert np.abs(found - np.clip(exact, limits.min, limits.max)).max() <= 0.5 + 65536 * 2.0**-30


@pytest.mark.parametrize(
    ("multipliers", "shift", "expected"),
    [
        ((2**31 - 1, 2**31 - 1), 1, [-32768, 32767, 0]),
        ((2**31 - 1, 2**31 - 1), 62, [0, 0, 0]),
        ((0, 0), 1, [0, 0, 0]),
        ((1, 0), 1, [-16384, 16384, 0]),
        ((2**30, 2**30), 31, [-32768, 32767, 0]),
    ],
)
def test_integer_add_at_its_edges(
    operations: Any, multipliers: tuple[int, int], shift: int, expected: list[int]
) -> None:
    values = np.array([-32768, 32767, 0], np.int16)
    text = INTEGER.format(*multipliers, shift)
    found = operations.run("integer_add", [values, values], "3xi16", text)
    assert found.tolist() == expected


def test_multiply_scalar(operations: Any) -> None:
    x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    found = operations.run("multiply_scalar", [x], "3x4xf32", "factor = 0.3 : f64")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (torch.from_numpy(x) * 0.3).numpy())


@pytest.mark.parametrize(
    ("operand", "result", "problem"),
    [
        ("4xf16", "4xf32", "x has element type f16, expected f32"),
        ("4xf32", "5xf32", "result has shape [5], expected [4]"),
    ],
)
def test_multiply_scalar_is_refused(
    operations: Any, operand: str, result: str, problem: str
) -> None:
    found = operations.problems("multiply_scalar", [operand], result, "factor = 1.0 : f64")
    assert found == [problem]


@pytest.mark.parametrize("predicate", list(PREDICATES))
@pytest.mark.parametrize("element", ["f32", "i64"])
def test_compare_is_torchs(operations: Any, predicate: str, element: str) -> None:
    dtype = {"f32": np.float32, "i64": np.int64}[element]
    lhs, rhs = np.arange(6).astype(dtype).reshape(2, 3), np.array([2, 3, 1], dtype)
    found = operations.run("compare", [lhs, rhs], "2x3xi1", f'predicate = "{predicate}"')
    expected = getattr(torch, predicate)(torch.from_numpy(lhs), torch.from_numpy(rhs)).numpy()
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("operands", "result", "predicate", "problem"),
    [
        (["4xi64", "4xi32"], "4xi1", "eq", "rhs has element type i32, expected i64"),
        (["4xi64", "4xi64"], "4xi8", "eq", "result has element type i8, expected i1"),
        (["4xi64", "3xi64"], "4xi1", "eq", "rhs of shape [3] does not broadcast to [4]"),
        (
            ["4xi64", "4xi64"],
            "4xi1",
            "is",
            "predicate is 'is', expected one of eq, ne, lt, le, gt, ge",
        ),
    ],
)
def test_compare_is_refused(
    operations: Any, operands: list[str], result: str, predicate: str, problem: str
) -> None:
    text = f'predicate = "{predicate}"'
    assert operations.problems("compare", operands, result, text) == [problem]
