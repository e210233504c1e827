"""Scales per channel that move from an activation into the weights that read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.arithmetic import unpack_groups
from girih.dialects.mfm import Conv1dOp, GeluOp, LayerNormOp, LinearOp, RmsNormOp
from girih.dialects.mfm.hollow import is_hollow
from girih.passes.base import Compilation
from girih.passes.quantization.groups import pack_rows
from girih.passes.quantization.plan import Group, Plan, is_quantizable
from girih.passes.quantization.rules import Precisions
from girih.passes.quantization.weights import quantize_rows
from girih.passes.statistics import STATISTICS

Array = NDArray[Any]
Scaling = Literal["smoothing", "activation-aware"]
"""What chooses the scales where weights of 4 bits read an activation."""

_PER_CHANNEL = (GeluOp, LayerNormOp, RmsNormOp)
"""What rescales each channel by itself anyway, so that a factor per channel is free."""
_LEAST = 1e-3
"""Share of the largest channel that every channel is taken to have."""
_EXPONENTS = np.arange(11) / 10
_SAMPLED_ROWS = 256
"""Rows of a weight that an error is taken from."""


def scale_channels(
    plan: Plan,
    compilation: Compilation,
    precisions: Precisions,
    smoothing: float,
    scaling: Scaling,
) -> None:
    """Give the groups that allow it the factor by which each of their channels is divided.

    ```
    linear(norm(x, gamma, beta), w)  -->  linear(norm(x, gamma / f, beta / f), w * f)
    ```
    SmoothQuant (Xiao et al. 2023) balances the ranges of activation and weight, ``activation-
    aware`` (AWQ: Lin et al. 2023) searches the factor of the least error, which is for weights of
    4 bits; what only weights of 8 bits read is smoothed in either case.
    """
    for group in plan.groups:
        readers = _readers(group, plan)
        if not readers:
            continue
        key = group.members[0].owner.attributes[STATISTICS].value
        names = [reader.weight.owner.opview.parameter.value for reader in readers]
        activation = np.maximum(compilation.statistics[key], group.maximum * _LEAST)
        weights = [compilation.parameters[name] for name in names]
        bits = [
            precisions.bits(name, array.shape[1])
            for name, array in zip(names, weights, strict=True)
        ]
        known = key in compilation.squares and not any(map(is_hollow, weights))
        factor = None
        if scaling == "activation-aware" and 4 in bits and known:
            square = compilation.squares[key]
            correlations = [compilation.correlations.get(name) for name in names]
            factor = _searched(square, activation, weights, bits, correlations)
        elif smoothing > 0:
            factor = _smoothed(activation, weights, smoothing)
        if factor is not None:
            # Rounded to float32 so that activation and weight are scaled by the same number.
            group.factor = (factor / factor.max()).astype(np.float32).astype(np.float64)
            group.maximum = float((activation / group.factor).max())


def _readers(group: Group, plan: Plan) -> list[LinearOp | Conv1dOp]:
    """The products that read a group that a factor is free for; none of another group."""
    # What is always 0 has nothing to balance.
    if len(group.members) != 1 or group.bits != 8 or group.maximum == 0:
        return []
    value = group.members[0]
    producer = value.owner
    if isinstance(producer, ir.Block) or not isinstance(producer.opview, _PER_CHANNEL):
        return []
    if not is_quantizable(producer.opview):
        return []
    readers = [use.owner.operation.opview for use in value.uses]
    if all(
        isinstance(reader, (LinearOp, Conv1dOp)) and plan.only_multiplies(reader.weight)
        for reader in readers
    ):
        return readers
    return []


def _smoothed(activation: Array, weights: Sequence[Array], smoothing: float) -> Array:
    """activation^a / weight^(1 - a), of the largest magnitudes per channel."""
    rows = [array[:1] if is_hollow(array) else array for array in weights]
    channels = len(activation)
    largest = [np.abs(each).reshape(-1, channels).max(axis=0) for each in rows]
    weight = np.maximum(np.max(largest, axis=0), 1e-5)
    return activation**smoothing / weight ** (1 - smoothing)


def _searched(
    square: Array,
    activation: Array,
    weights: Sequence[Array],
    bits: Sequence[int],
    correlations: Sequence[Array | None],
) -> Array | None:
    """magnitude^a for the a of the least error of what is computed; None where that is 0.

    A channel's magnitude is its root mean square, which calibration notes, where AWQ takes the
    mean. The error is that of all products with the activation, after both are rounded.
    """
    magnitude = np.sqrt(square)
    magnitude = np.maximum(magnitude, max(float(magnitude.max()) * _LEAST, 1e-12))
    best, least = None, np.inf
    for exponent in _EXPONENTS:
        factor = magnitude**exponent
        factor = factor / factor.max()
        step = float((activation / factor).max()) / 127
        error = sum(
            _error(array, factor, step, width, square, correlation)
            for array, width, correlation in zip(weights, bits, correlations, strict=True)
        )
        if error < least:
            best, least = factor if exponent else None, error
    return best


def _error(
    weight: Array, factor: Array, step: float, bits: int, square: Array, correlation: Array | None
) -> float:
    """Expected square error of x w^T, by row of x, of x / factor in steps and w * factor rounded.

    That of the weights by the inputs' correlation, or their mean squares alone, and that of the
    inputs as a twelfth of their squared step.
    """
    stride = -(-len(weight) // _SAMPLED_ROWS)
    rows = weight[::stride].astype(np.float64)
    taps = rows.shape[1] // len(factor)
    every, power = np.tile(factor, taps), np.tile(square, taps)
    scaled = rows * every
    integers, row_scale = quantize_rows(scaled, None, 1.0)
    inputs = np.diag(power) if correlation is None else correlation
    # The sum over the inputs' rows --> their mean.
    inputs = inputs * (power.sum() / max(float(np.trace(inputs)), 1e-30))
    if bits == 4:
        integers = unpack_groups(
            pack_rows(scaled, row_scale, inputs / np.outer(every, every), compensates=False)
        )
    rounded = integers * row_scale[:, None]
    lost = rounded / every - rows
    total = np.einsum("nk,nk->", lost @ inputs, lost) + (rounded**2).sum() * step**2 / 12
    return float(total) * len(weight) / len(rows)
