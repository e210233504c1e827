"""The integer arithmetic that every quantized operation is made of (docs/numerics.md).

NumPy, exact, and independent of the simulator and of IREE: these functions are the definition.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

SCORE_HIDDEN = -32768
"""The log2-domain score of a key that a query may not see."""
KEY_GROUP = 64
"""Keys that attention takes in at a time: part of the definition of integer_attention."""
CORRECTION_BITS = 30
"""Fraction bits of the factor that brings sums to a new maximum."""
CORRECTION_TABLE = np.rint(2.0 ** (CORRECTION_BITS - np.arange(256) / 256)).astype(np.int32)
"""``2^30 * 2^(-f / 256)``."""

GROUP = 32
"""Weights of 4 bits that share a scale."""
GROUP_BYTES = 1 + GROUP // 2
"""What a group takes: its scale, then two weights a byte."""


def packed_columns(columns: int) -> int:
    """Bytes of a row of weights of 4 bits: `columns` is a multiple of `GROUP`."""
    return columns // GROUP * GROUP_BYTES


def unpack_groups(packed: Array) -> Array:
    """Weights of 8 bits (N, 32 G) from packed groups (N, 17 G): see `mfm.unpack`."""
    groups = packed.view(np.int8).reshape(len(packed), -1, GROUP_BYTES)
    scales, nibbles = groups[..., :1].astype(np.int32), groups[..., 1:].astype(np.int32)
    low, high = ((nibbles & 15) ^ 8) - 8, nibbles >> 4
    weights = saturate(np.concatenate([low, high], axis=-1) * scales, np.int8)
    return weights.reshape(len(packed), -1)


def pack_groups(weights: Array, scales: Array) -> Array:
    """The inverse of `unpack_groups`: weights (N, 32 G) of -8 to 7, scales (N, G) of 0 to 127."""
    count, columns = weights.shape
    groups = weights.reshape(count, columns // GROUP, 2, GROUP // 2).astype(np.int8)
    nibbles = (groups[:, :, 0] & 15) | (groups[:, :, 1] << 4)
    packed = np.concatenate([scales[..., None].astype(np.int8), nibbles], axis=-1)
    return packed.reshape(count, packed_columns(columns))


def half(shift: int | Array) -> Array:
    """Half a unit of the result of a right shift: added before it to round half up."""
    return np.int64(1) << (np.asarray(shift, np.int64) - 1)


def saturate(value: Array, dtype: DTypeLike) -> Array:
    """Clamp to the range of an integer dtype and convert."""
    limits = np.iinfo(cast(Any, np.dtype(dtype)))
    return np.clip(value, limits.min, limits.max).astype(dtype)


def rescale(
    value: Array, multiplier: Array, shift: Array, dtype: DTypeLike, offset: int = 0
) -> Array:
    """``clamp(((value * multiplier + half(shift)) >> shift) + offset)``, exact in int64.

    TOSA 1.0 RESCALE with single rounding, the offset its output zero point; the operands broadcast.
    """
    shift64 = np.asarray(shift, np.int64)
    product = value.astype(np.int64) * np.asarray(multiplier, np.int64)
    return saturate(((product + half(shift64)) >> shift64) + offset, dtype)


def scale_to_multiplier(factor: float) -> tuple[int, int]:
    """Write a positive real factor as (multiplier, shift): multiplier x 2^-shift, within 2^-31.

    Factors below 2^-31 become (0, 1). Raises `ValueError` above 2^29 and for what is not a
    positive number.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"a rescale factor must be positive and finite, found {factor}")
    mantissa, exponent = math.frexp(factor)
    multiplier = round(mantissa * 2**31)
    shift = 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    if shift > 62:
        return 0, 1
    if shift < 1:
        raise ValueError(f"a rescale factor must be below 2^30, found {factor}")
    return multiplier, shift


def integer_square_root(value: Array) -> Array:
    """Floor of the exact square root of int64 values below 2^62."""
    root = np.sqrt(value.astype(np.float64)).astype(np.int64)
    root -= root * root > value
    root += (root + 1) * (root + 1) <= value
    return root


def exponential(distance: Array) -> Array:
    """``255 * 2^(-distance / 256)`` as uint8 for distances 0 .. 65535 below the row's maximum."""
    distance = distance.astype(np.int32)
    fraction, exponent = distance & 255, distance >> 8
    mantissa = 32640 - ((fraction * (21948 - ((fraction * 5664) >> 8))) >> 8)
    shift = np.minimum(exponent, 15)
    value = (mantissa + (np.int32(64) << shift)) >> (7 + shift)
    return np.where(exponent > 15, 0, value).astype(np.uint8)


def correction(distance: Array) -> Array:
    """``2^30 * 2^(-distance / 256)`` as int32: what a maximum that rose by so much does to sums."""
    wide = distance.astype(np.int64)
    fraction, exponent = wide & 255, np.minimum(wide >> 8, 32)
    table = CORRECTION_TABLE.astype(np.int64)[fraction]
    return ((table + ((np.int64(1) << exponent) >> 1)) >> exponent).astype(np.int32)


def fold(state: Array, factor: Array, added: Array) -> Array:
    """Sums of weights below an earlier maximum, brought to the new one, and the new weights' sums.

    ``round(state * factor / 2^30) + added``, int32, the product exact in int64.
    """
    product = state.astype(np.int64) * factor.astype(np.int64)
    kept = (product + half(CORRECTION_BITS)) >> CORRECTION_BITS
    return (kept + added).astype(np.int32)


def layer_norm(
    x: Array, gamma: Array, beta: Array, epsilon: int, shift: int, dtype: DTypeLike
) -> Array:
    """Steps 1 to 7 of integer_layer_norm over the last axis; x, gamma, beta int64."""
    width = x.shape[-1]
    mean = (2 * 16 * x.sum(axis=-1, keepdims=True) + width) // (2 * width)
    return _normalize_row(16 * x - mean, gamma, beta, epsilon, shift, dtype)


def rms_norm(x: Array, gamma: Array, epsilon: int, shift: int, dtype: DTypeLike) -> Array:
    """The same with mean and beta 0: integer_rms_norm over the last axis; x, gamma int64."""
    return _normalize_row(16 * x, gamma, np.zeros_like(gamma), epsilon, shift, dtype)


def _normalize_row(
    centered: Array, gamma: Array, beta: Array, epsilon: int, shift: int, dtype: DTypeLike
) -> Array:
    """Steps 3 to 7 of integer_layer_norm."""
    variance = np.square(centered).sum(axis=-1, keepdims=True) // centered.shape[-1] + epsilon
    reciprocal = (1 << 42) // integer_square_root(variance << 20)
    normalized = (centered * reciprocal + half(16)) >> 16
    return saturate((normalized * gamma + (beta << 8) + half(shift)) >> shift, dtype)


def normalize(mixed: Array, total: Array, multiplier: int, shift: int) -> Array:
    """The last step of integer_attention: weighted sums over their row's total weight, as int8."""
    wide = total.astype(np.int64)
    reciprocal = np.where(wide == 0, 0, (multiplier << 8) // np.maximum(wide, 1))
    return saturate((mixed.astype(np.int64) * reciprocal + half(shift)) >> shift, np.int8)


def integer_matmul(lhs: Array, rhs: Array) -> Array:
    """Exact product of 8-bit matrices (stacked over leading axes) as int32.

    Sums stay below 2^53, so float64 BLAS gives them exactly; below 2^24 float32 does.
    """
    depth = lhs.shape[-1]
    exact_in_float32 = depth * 255 * 128 < 2**24
    dtype = np.float32 if exact_in_float32 else np.float64
    return np.matmul(lhs.astype(dtype), rhs.astype(dtype)).astype(np.int64).astype(np.int32)
