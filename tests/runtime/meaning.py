"""What opcodes mean, in plain Python integers, from docs/numerics.md alone; and test values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from girih.runtime.program import DType

Array = npt.NDArray[Any]
LOWEST = {DType.I8: -128, DType.U8: 0, DType.I16: -(1 << 15), DType.I32: -(1 << 31)}
HIGHEST = {DType.I8: 127, DType.U8: 255, DType.I16: (1 << 15) - 1, DType.I32: (1 << 31) - 1}

several = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 2**32 - 1)
rows_strategy = st.integers(1, 7)
columns_strategy = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 255, 256, 257, 300]))
gaps = st.sampled_from([0, 0, 1, 5, 16])
multipliers = st.one_of(
    st.integers(1 << 30, (1 << 31) - 1), st.integers(0, (1 << 31) - 1), st.sampled_from([0, 1, 2])
)
shifts = st.one_of(st.integers(28, 45), st.integers(1, 62))


def clamp(value: int, dtype: DType) -> int:
    return max(LOWEST[dtype], min(HIGHEST[dtype], value))


def shift_round(value: int, shift: int) -> int:
    return (value + (1 << (shift - 1))) >> shift


def rescale(value: int, multiplier: int, shift: int, dtype: DType) -> int:
    return clamp(shift_round(value * multiplier, shift), dtype)


def power(score: int, largest: int) -> int:
    if score == -32768:
        return 0
    below = max(largest - score, 0)
    fraction, exponent = below & 255, below >> 8
    mantissa = 32640 - ((fraction * (21948 - ((fraction * 5664) >> 8))) >> 8)
    return 0 if exponent > 15 else (mantissa + (64 << exponent)) >> (7 + exponent)


def correction(distance: int) -> int:
    table = round(2 ** (30 - (distance & 255) / 256))
    exponent = min(distance >> 8, 32)
    return (table + ((1 << exponent) >> 1)) >> exponent


def random_values(seed: int, shape: tuple[int, ...], dtype: DType) -> Array:
    """Random of the whole range, of a small one, or of extremes."""
    generator = np.random.default_rng(seed)
    low, high = LOWEST[dtype], HIGHEST[dtype]
    kind = seed % 4
    if kind == 0:
        values = generator.choice([low, low + 1, -1 % (high + 1), 0, 1, high - 1, high], shape)
    elif kind == 1:
        values = generator.integers(max(low, -300), min(high, 300) + 1, shape)
    else:
        values = generator.integers(low, high + 1, shape)
    return values.astype(dtype.numpy)


def random_parameters(seed: int, columns: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed + 1)
    if seed % 3 == 0:  # as calibration makes them
        multiplier = generator.integers(1 << 30, 1 << 31, columns)
        shift = generator.integers(31, 45, columns)
    else:
        multiplier = generator.integers(0, 1 << 31, columns) >> generator.integers(0, 31, columns)
        shift = generator.integers(1, 63, columns)
    return multiplier.astype(np.int32), shift.astype(np.int32)


def each(function: Any, *arrays: Array) -> Array:
    """Applies a function of Python ints element by element."""
    return np.vectorize(lambda *values: function(*map(int, values)), otypes=[object])(*arrays)
