"""Products of activations and weights: rules, meaning, and the error of the integer form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects.arithmetic import scale_to_multiplier
from girih.dialects.mfm.linear import MAXIMUM_DEPTH

SEEDS = st.integers(0, 2**32 - 1)


def test_linear_is_accepted(operations: Any) -> None:
    assert operations.problems("linear", ["2x4x8xf32", "16x8xf32", "16xf32"], "2x4x16xf32") == []
    assert operations.problems("linear", ["8xf32", "16x8xf32"], "16xf32") == []


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["4x8xf16", "9x8xf32"], "4x9xf32", "x has element type f16, expected f32"),
        (["4x8xf32", "9x7xf32"], "4x9xf32", "weight has shape [9, 7], expected [9, 8]"),
        (["4x8xf32", "9x8xf32"], "5x9xf32", "result has shape [5, 9], expected [4, 9]"),
        (["4x8xf32", "9x8xf32", "8xf32"], "4x9xf32", "bias has shape [8], expected [9]"),
        (["f32", "9x8xf32"], "4x9xf32", "x has rank 0, expected at least 1"),
        (
            ["4x?xf32", "9x8xf32"],
            "4x9xf32",
            "has the type tensor<4x?xf32>, expected a tensor of static shape",
        ),
    ],
)
def test_linear_is_refused(operations: Any, operands: list[str], result: str, problem: str) -> None:
    assert operations.problems("linear", operands, result) == [problem]


def test_integer_linear_is_accepted(operations: Any) -> None:
    for element in ("i8", "i16"):
        operands = ["2x4x8xi8", "16x8xi8", "3x16xi32"]
        assert operations.problems("integer_linear", operands, f"2x4x16x{element}") == []


DEEP = MAXIMUM_DEPTH + 1


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["4x8xi16", "9x8xi8", "3x9xi32"], "4x9xi8", "x has element type i16, expected i8"),
        (["4x8xi8", "9x8xi16", "3x9xi32"], "4x9xi8", "weight has element type i16, expected i8"),
        (
            ["4x8xi8", "9x8xi8", "3x9xi16"],
            "4x9xi8",
            "parameters has element type i16, expected i32",
        ),
        (
            ["4x8xi8", "9x8xi8", "3x9xi32"],
            "4x9xi32",
            "result has element type i32, expected i8 or i16",
        ),
        (["4x8xi8", "8x9xi8", "3x9xi32"], "4x9xi8", "weight has shape [8, 9], expected [9, 8]"),
        (["4x8xi8", "9x8xi8", "2x9xi32"], "4x9xi8", "parameters has shape [2, 9], expected [3, 9]"),
        (["4x8xi8", "9x8xi8", "3x9xi32"], "3x9xi8", "result has shape [3, 9], expected [4, 9]"),
        (
            [f"1x{DEEP}xi8", f"2x{DEEP}xi8", "3x2xi32"],
            "1x2xi8",
            f"sums {DEEP} products, expected at most {MAXIMUM_DEPTH} to fit int32",
        ),
    ],
)
def test_integer_linear_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert operations.problems("integer_linear", operands, result) == [problem]


def test_every_broken_rule_is_reported(operations: Any) -> None:
    problems = operations.problems("linear", ["4x8xf16", "9x7xf32"], "5x9xf32")
    assert len(problems) == 3


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 9), depth=st.integers(1, 70), outputs=st.integers(1, 40))
def test_linear_is_torchs(operations: Any, seed: int, rows: int, depth: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, rows, depth), np.float32)
    weight = rng.standard_normal((outputs, depth), np.float32)
    bias = rng.standard_normal(outputs, np.float32)
    result = f"2x{rows}x{outputs}xf32"
    for inputs in ([x, weight], [x, weight, bias]):
        expected = torch.nn.functional.linear(*map(torch.from_numpy, inputs)).numpy()
        found = operations.run("linear", inputs, result)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, depth=st.integers(1, 900), element=st.sampled_from(["i8", "i16"]))
def test_integer_linear_is_half_a_unit_from_exact(
    operations: Any, seed: int, depth: int, element: str
) -> None:
    """The sums are exact, so only the last rescale rounds."""
    rng = np.random.default_rng(seed)
    outputs = 7
    x = rng.integers(-128, 128, (5, depth), np.int8)
    weight = rng.integers(-128, 128, (outputs, depth), np.int8)
    bias = rng.integers(-(2**20), 2**20, outputs)
    factors = 10.0 ** rng.uniform(-5, -2, outputs)
    multiplier, shift = np.array([scale_to_multiplier(factor) for factor in factors]).T
    parameters = np.stack([bias, multiplier, shift]).astype(np.int32)
    found = operations.run("integer_linear", [x, weight, parameters], f"5x{outputs}x{element}")
    sums = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    limits = np.iinfo(found.dtype)
    exact = np.clip(sums * factors, limits.min, limits.max)
    assert np.abs(found - exact).max() <= 0.5 + 2.0**-30 * np.abs(sums * factors).max()


def test_the_deepest_sums_of_extremes_fit(operations: Any) -> None:
    """Largest products, deepest sum, largest bias: still within int32, as the verifier promises."""
    x = np.full((1, MAXIMUM_DEPTH), -128, np.int8)
    weight = np.stack([np.full(MAXIMUM_DEPTH, value, np.int8) for value in (-128, 127)])
    parameters = np.array([[2**30, -(2**30)], [2**30, 2**30], [46, 46]], np.int32)
    found = operations.run("integer_linear", [x, weight, parameters], "1x2xi16")
    exact = [MAXIMUM_DEPTH * 2**14 + 2**30, -MAXIMUM_DEPTH * 128 * 127 - 2**30]
    assert found[0].tolist() == [min((value + 2**15) >> 16, 32767) for value in exact]


def test_integer_linear_saturates_and_vanishes(operations: Any) -> None:
    """A multiplier of 0 (a vanished channel), and shifts of 1 and of 62."""
    x = np.full((1, 4), 127, np.int8)
    weight = np.full((4, 4), 127, np.int8)
    weight[3] = -128
    parameters = np.array([[0] * 4, [0, 1, 2**31 - 1, 1], [1, 1, 62, 1]], np.int32)
    found = operations.run("integer_linear", [x, weight, parameters], "1x4xi8")
    assert found.tolist() == [[0, 127, 0, -128]]
