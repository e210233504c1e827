"""Weights as integers, and the integer parameters of each operation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.dialects.arithmetic import saturate, scale_to_multiplier
from girih.dialects.mfm.activation import (
    GELU_FRACTION_BITS,
    ramp_steps,
)
from girih.dialects.mfm.hollow import elementwise, once
from girih.passes.quantization.plan import Group

Array = NDArray[Any]

_LARGEST_BIAS = 2.0**30
_LARGEST_FACTOR = 2.0**29
"""From here on a rescale takes every integer but 0 to the end of int16: more changes nothing."""


def channel_factor(group: Group, channels: int) -> Array:
    """The group's extra scale per channel, ones where it has none."""
    return np.ones(channels) if group.factor is None else group.factor


def quantize_rows(weight: Array, bias: Array | None, input_scale: float) -> tuple[Array, Array]:
    """Weights (N, K) as int8 with one scale per row: (integers, scales).

    The scale covers the row's largest weight, and is large enough that the bias, in units of
    input scale x row scale, stays below 2^30, and fits int32 together with K products even of
    inputs of 9 bits: those of 8, less their offset.
    """
    # Of a hollow weight, or bias, one row stands for all.
    rows = once(weight)
    scale = np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127
    if bias is not None:
        largest = min(_LARGEST_BIAS, np.iinfo(np.int32).max - 255 * 128 * weight.shape[1])
        scale = np.maximum(scale, np.abs(once(bias)) / (input_scale * largest))
    integers = np.clip(np.rint(rows / scale[:, None]), -127, 127).astype(np.int8)
    return np.broadcast_to(integers, weight.shape), np.broadcast_to(scale, len(weight))


def quantize_all(array: Array, scale: float, bits: int = 16) -> Array:
    """Any array as int16, or int8, at one scale."""
    dtype = np.int16 if bits == 16 else np.int8
    return elementwise(lambda each: saturate(np.rint(each / scale), dtype), array)


def linear_parameters(row_scale: Array, bias: Array | None, source: Group, target: Group) -> Array:
    """(3, N) int32: bias, multiplier, shift of integer_linear and integer_conv1d."""
    unit = source.scale * row_scale
    offset = np.zeros(len(unit)) if bias is None else np.rint(bias / unit)
    factors = unit / (target.scale * channel_factor(target, len(unit)))
    return np.vstack([offset.astype(np.int32), *multipliers(factors)])


def multiplier(factor: float) -> tuple[int, int]:
    """Multiplier and shift of a positive factor, which may be large where ranges vanish."""
    return scale_to_multiplier(min(factor, _LARGEST_FACTOR))


def multipliers(factors: Array) -> tuple[Array, Array]:
    """`multiplier` for arrays, int32: a vocabulary has tens of thousands of rows."""
    mantissa, exponent = np.frexp(np.minimum(factors, _LARGEST_FACTOR))
    integers = np.rint(mantissa * 2.0**31).astype(np.int64)
    carried = integers == 1 << 31
    integers[carried] >>= 1
    shift = 31 - exponent - carried
    vanished = shift > 62
    integers[vanished], shift[vanished] = 0, 1
    return integers.astype(np.int32), shift.astype(np.int32)


def layer_norm_parameters(gamma: Array, beta: Array, target: Group) -> tuple[Array, int]:
    """(2, C) int32 gamma and beta, and the shift, of integer_layer_norm."""
    unit = target.scale * channel_factor(target, len(gamma))
    gamma, beta = gamma / unit, beta / unit
    # The largest shift at which round(gamma 2^(shift - 16)) and round(beta 2^(shift - 8)) fit.
    room = min(46 - _log2(np.abs(gamma).max()), 38 - _log2(np.abs(beta).max()))
    shift = int(np.clip(math.floor(room), 1, 46))
    values = [np.rint(gamma * 2.0 ** (shift - 16)), np.rint(beta * 2.0 ** (shift - 8))]
    return np.vstack(values).astype(np.int32), shift


def _log2(value: float) -> float:
    return math.log2(max(value, 1e-30))


def gelu_parameters(source: Group, target: Group, channels: int) -> Array:
    """(2, C) int32: multiplier and shift of integer_gelu's last rescale."""
    unit = source.scale / (1 << GELU_FRACTION_BITS)
    return np.vstack(multipliers(unit / (target.scale * channel_factor(target, channels))))


def gelu_index(source: Group) -> tuple[int, int]:
    """Multiplier and shift from integer_gelu's input to its table's index."""
    return multiplier(ramp_steps(source.scale) * source.scale)


def add_multipliers(lhs: Group, rhs: Group, target: Group) -> tuple[int, int, int]:
    """Two multipliers over one shift, the larger with 30 bits."""
    factors = [min(each.scale / target.scale, _LARGEST_FACTOR) for each in (lhs, rhs)]
    _, shift = scale_to_multiplier(max(factors))
    # One bit less than a rescale's, so that rounding up never reaches 2^31.
    shift = max(shift - 1, 1)
    first, second = (round(factor * 2.0**shift) for factor in factors)
    return first, second, shift
