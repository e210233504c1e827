"""The integer arithmetic against exact Python integers and against what it approximates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects import arithmetic

INT32 = st.integers(-(2**31), 2**31 - 1)
MULTIPLIERS = st.integers(0, 2**31 - 1)
SHIFTS = st.integers(1, 62)


def exact_rescale(value: int, multiplier: int, shift: int, low: int, high: int) -> int:
    return min(max((value * multiplier + (1 << (shift - 1))) >> shift, low), high)


@settings(max_examples=300, deadline=None)
@given(value=INT32, multiplier=MULTIPLIERS, shift=SHIFTS)
def test_rescale_is_exact(value: int, multiplier: int, shift: int) -> None:
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        found = arithmetic.rescale(np.array([value], np.int32), multiplier, shift, dtype)
        assert found.dtype == dtype
        assert int(found[0]) == exact_rescale(value, multiplier, shift, limits.min, limits.max)


@pytest.mark.parametrize("shift", [1, 62])
@pytest.mark.parametrize("multiplier", [0, 1, 2**30, 2**31 - 1])
@pytest.mark.parametrize("value", [-(2**31), -1, 0, 1, 2**31 - 1])
def test_rescale_at_its_edges(value: int, multiplier: int, shift: int) -> None:
    """The largest product plus half the largest shift still fits int64."""
    found = arithmetic.rescale(np.array([value], np.int32), multiplier, shift, np.int16)
    assert int(found[0]) == exact_rescale(value, multiplier, shift, -32768, 32767)


def test_rescale_rounds_half_up() -> None:
    values = np.array([-3, -2, -1, 0, 1, 2, 3], np.int32)
    assert arithmetic.rescale(values, 1, 1, np.int8).tolist() == [-1, -1, 0, 0, 1, 1, 2]


def test_rescale_takes_a_factor_per_channel() -> None:
    values = np.array([[100, 100], [-100, -100]], np.int32)
    found = arithmetic.rescale(values, np.array([1, 0], np.int32), np.array([1, 1]), np.int8)
    assert found.tolist() == [[50, 0], [-50, 0]]


@settings(max_examples=200, deadline=None)
@given(factor=st.floats(2.0**-31, 2.0**29), value=INT32)
def test_rescale_is_half_a_unit_from_the_real_product(factor: float, value: int) -> None:
    """The bound of docs/numerics.md: half a unit, plus 2^-31 of the product."""
    multiplier, shift = arithmetic.scale_to_multiplier(factor)
    found = exact_rescale(value, multiplier, shift, -(2**100), 2**100)
    product = value * factor
    # The slack is float64's own error in computing the product here.
    assert abs(found - product) <= 0.5 + abs(product) * (2.0**-31 + 2.0**-50)


@settings(max_examples=300, deadline=None)
@given(factor=st.floats(2.0**-31, 2.0**29))
def test_scale_to_multiplier(factor: float) -> None:
    multiplier, shift = arithmetic.scale_to_multiplier(factor)
    assert 2**30 <= multiplier < 2**31
    assert 1 <= shift <= 62
    assert abs(math.ldexp(multiplier, -shift) - factor) <= factor * 2.0**-31


@pytest.mark.parametrize("exponent", [-31, -1, 0, 1, 29])
def test_powers_of_two_are_exact(exponent: int) -> None:
    multiplier, shift = arithmetic.scale_to_multiplier(2.0**exponent)
    assert math.ldexp(multiplier, -shift) == 2.0**exponent


def test_a_mantissa_that_rounds_up_carries() -> None:
    """The largest float below 1 would need the multiplier 2^31."""
    assert arithmetic.scale_to_multiplier(math.nextafter(1.0, 0.0)) == (2**30, 30)


def test_vanishing_factors_become_zero() -> None:
    assert arithmetic.scale_to_multiplier(2.0**-40) == (0, 1)
    assert arithmetic.scale_to_multiplier(5e-324) == (0, 1)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_factor_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite, found"):
        arithmetic.scale_to_multiplier(factor)


def test_a_factor_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be below 2\^30, found 1073741824"):
        arithmetic.scale_to_multiplier(2.0**30)


def test_square_root_is_exact_around_squares() -> None:
    """Up to 2^62, where float64 cannot tell a square from its neighbours."""
    rng = np.random.default_rng(0)
    roots = np.concatenate(
        [
            np.arange(1, 2000),
            2 ** np.arange(1, 31),
            2**31 - np.arange(1, 2000),
            rng.integers(1, 2**31, 5000),
        ]
    )
    values = np.concatenate([roots * roots - 1, roots * roots, roots * roots + 1, [2**62 - 1]])
    found = arithmetic.integer_square_root(values)
    assert found.tolist() == [math.isqrt(value) for value in values.tolist()]


@settings(max_examples=300, deadline=None)
@given(value=st.integers(0, 2**62 - 1))
def test_square_root_is_exact(value: int) -> None:
    assert int(arithmetic.integer_square_root(np.array([value]))[0]) == math.isqrt(value)


def test_exponential_before_rounding() -> None:
    """The mantissa's polynomial is within 0.25% of the power of two that it stands for."""
    f = np.arange(256)
    mantissa = 32640 - ((f * (21948 - ((f * 5664) >> 8))) >> 8)
    exact = 255 * 128 * 2.0 ** (-f / 256)
    assert np.abs(mantissa / exact - 1).max() < 0.0025


def test_exponential_of_every_distance() -> None:
    """Half a unit from rounding, and 0.25% of the value, over all of 0 .. 65535."""
    distance = np.arange(65536)
    found = arithmetic.exponential(distance)
    assert found.dtype == np.uint8
    assert found[0] == 255
    exact = 255 * 2.0 ** (-distance / 256)
    assert (np.abs(found - exact) <= 0.5 + 0.0025 * exact).all()
    assert (np.diff(found.astype(int)) <= 0).all()
    assert not found[16 * 256 :].any()


def test_correction_of_every_distance() -> None:
    """2^-30 of itself from the table, and half of 2^-30 from the shift; 1 where nothing rose."""
    distance = np.arange(65536)
    found = arithmetic.correction(distance)
    assert found.dtype == np.int32
    assert found[0] == 1 << arithmetic.CORRECTION_BITS
    exact = 2.0 ** (arithmetic.CORRECTION_BITS - distance / 256)
    assert (np.abs(found - exact) <= 0.5 + exact * 2.0**-30).all()
    assert (np.diff(found.astype(np.int64)) <= 0).all()


@settings(max_examples=300, deadline=None)
@given(state=INT32, distance=st.integers(0, 65535), added=st.integers(-(2**20), 2**20))
def test_fold_is_exact(state: int, distance: int, added: int) -> None:
    """Never larger than what is folded, so that it fits: rounding takes integers to integers."""
    factor = arithmetic.correction(np.array([distance]))
    kept = (state * int(factor[0]) + (1 << 29)) >> 30
    assert abs(kept) <= abs(state)
    found = arithmetic.fold(np.array([state], np.int32), factor, np.array([added]))
    assert int(found[0]) == (kept + added + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("depth", [1, 513, 514, 515, 5000])
def test_matmul_is_exact_at_its_extremes(depth: int) -> None:
    """Around the depth where float32 stops holding the sums."""
    rng = np.random.default_rng(depth)
    lhs = rng.integers(250, 256, (3, depth)).astype(np.uint8)
    rhs = rng.integers(-128, -120, (depth, 4)).astype(np.int8)
    expected = lhs.astype(np.int64) @ rhs.astype(np.int64)
    found = arithmetic.integer_matmul(lhs, rhs)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_normalize_gives_nothing_for_an_empty_row() -> None:
    """A row that sees no key has no weight: no division by zero, and zeros."""
    with np.errstate(all="raise"):
        found = arithmetic.normalize(
            np.zeros((2, 3), np.int32), np.array([[0], [255]]), 2**31 - 1, 40
        )
    assert not found.any()


def test_saturate_clamps_to_both_ends() -> None:
    assert arithmetic.saturate(np.array([-129, -128, 127, 128]), np.int8).tolist() == [
        -128,
        -128,
        127,
        127,
    ]
