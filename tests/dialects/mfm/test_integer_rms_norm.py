"""Quantized RMS norm: rules, error against the float form, and IREE's bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from girih.dialects import mfm

ATTRIBUTES = "epsilon = {} : i64, shift = {} : i64"


def test_it_is_accepted(operations: Any) -> None:
    for result in ("2x4x8xi8", "2x4x8xi16"):
        text = ATTRIBUTES.format(2**40 - 1, 62)
        operands = ["2x4x8xi16", "1x8xi32"]
        assert operations.problems("integer_rms_norm", operands, result, text) == []


@pytest.mark.parametrize(
    ("operands", "result", "attributes", "problem"),
    [
        (["4x8xi8", "1x8xi32"], "4x8xi8", (1, 1), "x has element type i8, expected i16"),
        (["4x8xi16", "1x8xi16"], "4x8xi8", (1, 1), "parameters has element type i16, expected i32"),
        (["4x8xi16", "2x8xi32"], "4x8xi8", (1, 1), "parameters has shape [2, 8], expected [1, 8]"),
        (["4x8xi16", "1x8xi32"], "4x7xi8", (1, 1), "result has shape [4, 7], expected [4, 8]"),
        (["4x8xi16", "1x8xi32"], "4x8xi8", (1, 0), "shift is 0, expected 1 to 62"),
        (["4x8xi16", "1x8xi32"], "4x8xi8", (0, 1), "epsilon is 0, expected 1 to 2^40"),
        (["i16", "1x1xi32"], "i8", (1, 1), "x has rank 0, expected at least 1"),
        (
            ["1x65537xi16", "1x65537xi32"],
            "1x65537xi8",
            (1, 1),
            "normalizes 65537 channels, expected at most 65536",
        ),
    ],
)
def test_it_is_refused(
    operations: Any, operands: list[str], result: str, attributes: tuple[int, int], problem: str
) -> None:
    text = ATTRIBUTES.format(*attributes)
    assert operations.problems("integer_rms_norm", operands, result, text) == [problem]


@pytest.mark.parametrize("deviation", [1, 30, 1000, 12000])
@pytest.mark.parametrize(("element", "largest"), [("i8", 127), ("i16", 32767)])
def test_it_is_close(operations: Any, deviation: int, element: str, largest: int) -> None:
    """docs/numerics.md, integer_rms_norm: sigma here in units of x."""
    rng = np.random.default_rng(deviation)
    x = np.clip(np.rint(rng.normal(3, deviation, (4, 700))), -32768, 32767).astype(np.int16)
    gamma = rng.normal(1, 0.3, 700)
    sigma = np.sqrt(np.square(x.astype(np.float64)).mean(axis=1, keepdims=True) + 1 / 256)
    exact = x / sigma * gamma
    out = np.abs(exact).max() / largest
    shift = min(math.floor(46 - math.log2(np.abs(gamma).max() / out)), 46)
    parameters = np.rint(gamma[None] / out * 2.0 ** (shift - 16)).astype(np.int32)
    text = ATTRIBUTES.format(1, shift)
    found = operations.run("integer_rms_norm", [x, parameters], f"4x700x{element}", text)
    relative = 2.0**-14 / sigma + 2.0**-8 / sigma**2 + 2.0**-28 * sigma
    bound = out * (1 / 2 + 2.0**-6) + np.abs(gamma) * (2.0**-17 + np.abs(x / sigma) * relative)
    assert (np.abs(found * out - exact) <= bound).all()


def test_zeros_stay_zeros(operations: Any) -> None:
    x, gamma = np.zeros((2, 5), np.int16), np.full((1, 5), 2**31 - 1, np.int32)
    found = operations.run("integer_rms_norm", [x, gamma], "2x5xi16", ATTRIBUTES.format(1, 1))
    np.testing.assert_array_equal(found, 0)


def test_the_widest_row_of_extremes(operations: Any) -> None:
    """The largest sum of squares there is; each value is its own root mean square."""
    x = np.full((1, 65536), -32768, np.int16)
    gamma = np.full((1, 65536), 100 << 14, np.int32)
    found = operations.run("integer_rms_norm", [x, gamma], "1x65536xi8", ATTRIBUTES.format(1, 30))
    np.testing.assert_array_equal(found, -100)


def test_iree_has_its_bits(tools: Any) -> None:
    rng = np.random.default_rng(3)
    parity = tools.parity()
    for number, width in enumerate((1, 3, 16, 77, 640)):
        out = (np.int8, np.int16)[number % 2]
        x = rng.integers(-32768, 32768, (2, 3, width), np.int16) >> rng.integers(0, 15, (2, 3, 1))
        gamma = rng.integers(-(2**31), 2**31, (1, width)) >> rng.integers(0, 30)
        parity.add(
            lambda x, p, width=width, out=out, number=number: mfm.IntegerRmsNormOp(
                x=x,
                parameters=p,
                result=tools.tensor_type([2, 3, width], out),
                epsilon=tools.integer((1, 40, 2**40 - 1, 1, 9)[number]),
                shift=tools.integer((20, 30, 1, 45, 62)[number]),
            ),
            x.astype(np.int16),
            gamma.astype(np.int32),
        )
    parity.check()
