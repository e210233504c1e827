"""Seams between float and integer, and between integer scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

QUANTIZE = "inverse_scale = {} : f64"
RESCALE = "multiplier = {} : i64, shift = {} : i64"


@pytest.mark.parametrize(
    ("name", "operand", "result", "attributes", "problem"),
    [
        (
            "quantize",
            "4xf16",
            "4xi8",
            "inverse_scale = 1.0",
            "x has element type f16, expected f32",
        ),
        (
            "quantize",
            "4xf32",
            "4xi32",
            "inverse_scale = 1.0",
            "result has element type i32, expected i8 or i16",
        ),
        ("quantize", "4xf32", "5xi8", "inverse_scale = 1.0", "result has shape [5], expected [4]"),
        (
            "dequantize",
            "4xi32",
            "4xf32",
            "scale = 1.0",
            "x has element type i32, expected i8 or i16",
        ),
        ("dequantize", "4xi8", "4xf16", "scale = 1.0", "result has element type f16, expected f32"),
        ("dequantize", "4xi8", "5xf32", "scale = 1.0", "result has shape [5], expected [4]"),
        (
            "rescale",
            "4xi32",
            "4xi8",
            RESCALE.format(1, 1),
            "x has element type i32, expected i8 or i16",
        ),
        (
            "rescale",
            "4xi16",
            "4xi32",
            RESCALE.format(1, 1),
            "result has element type i32, expected i8 or i16",
        ),
        ("rescale", "4xi16", "5xi8", RESCALE.format(1, 1), "result has shape [5], expected [4]"),
        ("rescale", "4xi16", "4xi8", RESCALE.format(1, 0), "shift is 0, expected 1 to 62"),
        (
            "rescale",
            "4xi16",
            "4xi8",
            RESCALE.format(-1, 1),
            "multiplier is -1, expected 0 to 2^31 - 1",
        ),
        (
            "rescale",
            "4xi16",
            "4xi8",
            RESCALE.format(2**31, 1),
            "multiplier is 2147483648, expected 0 to 2^31 - 1",
        ),
    ],
)
def test_refused(
    operations: Any, name: str, operand: str, result: str, attributes: str, problem: str
) -> None:
    assert operations.problems(name, [operand], result, attributes) == [problem]


def test_quantize_rounds_half_to_even_and_clamps(operations: Any) -> None:
    """Not-a-number becomes 0; infinities the ends of the range."""
    x = np.array([0.5, 1.5, -0.5, 126.5, 200, -200, np.nan, np.inf, -np.inf], np.float32)
    found = operations.run("quantize", [x], "9xi8", QUANTIZE.format(1.0))
    assert found.tolist() == [0, 2, 0, 126, 127, -128, 0, 127, -128]
    found = operations.run("quantize", [x * 1000], "9xi16", QUANTIZE.format(1.0))
    assert found.tolist() == [500, 1500, -500, 32767, 32767, -32768, 0, 32767, -32768]


def test_quantize_multiplies_in_float32(operations: Any) -> None:
    """The inverse is rounded to float32 before the product, as on the host."""
    inverse = np.float32(1 / 0.1)
    x = np.random.default_rng(0).normal(0, 3, 1000).astype(np.float32)
    found = operations.run("quantize", [x], "1000xi8", QUANTIZE.format(float(inverse)))
    expected = np.clip(np.rint(x * inverse), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([8, 16]))
def test_there_and_back_is_within_half_a_unit(operations: Any, seed: int, bits: int) -> None:
    x = np.random.default_rng(seed).normal(0, 2, 200).astype(np.float32)
    scale = float(np.abs(x).max()) / (2 ** (bits - 1) - 1)
    inverse = float(np.float32(1 / scale))
    stored = operations.run("quantize", [x], f"200xi{bits}", QUANTIZE.format(inverse))
    back = operations.run("dequantize", [stored], "200xf32", f"scale = {scale} : f64")
    assert back.dtype == np.float32
    assert np.abs(back - x).max() <= scale * (0.5 + 32767 * 2.0**-22)


@pytest.mark.parametrize(
    ("multiplier", "shift", "expected"),
    [
        (2**30, 30, [-128, 127, -3, 2]),
        (2**30, 31, [-128, 127, -1, 1]),
        (0, 1, [0, 0, 0, 0]),
        (2**31 - 1, 1, [-128, 127, -128, 127]),
        (2**31 - 1, 62, [0, 0, 0, 0]),
    ],
)
def test_rescale(operations: Any, multiplier: int, shift: int, expected: list[int]) -> None:
    x = np.array([-32768, 32767, -3, 2], np.int16)
    found = operations.run("rescale", [x], "4xi8", RESCALE.format(multiplier, shift))
    assert found.tolist() == expected
