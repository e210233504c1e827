"""Weights of 4 bits with a scale for each group: which integers, and how their errors cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.dialects.arithmetic import GROUP, pack_groups

Array = NDArray[Any]

LARGEST_SCALE = 18
"""A group's scale times a weight of 4 bits then covers a weight of 8 bits."""
_BLOCK_BYTES = 1 << 24
"""Rows are worked on so many bytes at a time: a vocabulary's table is large."""
_DAMPING = 0.01
"""Share of the mean square that is added to every input's (Frantar et al. 2023, section 3.3)."""


def pack_rows(
    weight: Array, row_scale: Array, correlation: Array | None, compensates: bool
) -> Array:
    """Weights (N, K), in units of `row_scale` (N) those of 8 bits, as packed groups (N, 17 K / 32).

    Each group takes the scale, and with it the integers, of the least square error. `correlation`
    (K, K), the sum of x^T x over the inputs, says how much an error of each weight matters; the
    identity where there is none. If it `compensates`, what rounding one weight loses is made up
    for by those of its row that are rounded later (GPTQ: Frantar et al. 2023); 0 stays 0.
    """
    depth = weight.shape[1]
    square: Array = np.eye(depth) if correlation is None else correlation
    square = square + np.eye(depth) * max(_DAMPING * float(np.trace(square)) / depth, 1e-12)
    importance = np.diag(square)
    factor = _inverse_factor(square) if compensates else None
    rows = max(1, _BLOCK_BYTES // (8 * depth))
    parts = [
        _pack(
            weight[start : start + rows] / row_scale[start : start + rows, None], importance, factor
        )
        for start in range(0, len(weight), rows)
    ]
    return np.concatenate(parts)


def _inverse_factor(correlation: Array) -> Array:
    """Upper triangular U with U^T U = correlation^-1: row i says what rounding weight i costs."""
    return np.linalg.cholesky(np.linalg.inv(correlation)).T


def _pack(weight: Array, importance: Array, factor: Array | None) -> Array:
    left = weight.astype(np.float64, copy=True)
    count, depth = left.shape
    integers = np.zeros((count, depth), np.int8)
    scales = np.zeros((count, depth // GROUP), np.int8)
    for group, first in enumerate(range(0, depth, GROUP)):
        part = slice(first, first + GROUP)
        scale = _best_scale(left[:, part], importance[part])
        scales[:, group] = scale
        if factor is None:
            integers[:, part] = _rounded(left[:, part], scale[:, None])
            continue
        errors = np.zeros((count, GROUP))
        for offset, column in enumerate(range(first, first + GROUP)):
            rounded = _rounded(left[:, column], scale)
            integers[:, column] = np.where(weight[:, column] == 0, 0, rounded)
            lost = left[:, column] - _value(integers[:, column], scale)
            errors[:, offset] = lost / factor[column, column]
            rest = slice(column + 1, first + GROUP)
            left[:, rest] -= np.outer(errors[:, offset], factor[column, rest])
        left[:, first + GROUP :] -= errors @ factor[part, first + GROUP :]
    return pack_groups(integers, scales)


def _best_scale(part: Array, importance: Array) -> Array:
    """The scale of each row's group of the least error, each weight's counted by its importance."""
    best = np.ones(len(part), np.int64)
    least = np.full(len(part), np.inf)
    for scale in range(1, LARGEST_SCALE + 1):
        lost = part - _value(_rounded(part, np.int64(scale)), np.int64(scale))
        error = (lost * lost) @ importance
        better = error < least
        best[better], least[better] = scale, error[better]
    return best


def _rounded(values: Array, scale: Any) -> Array:
    return np.clip(np.rint(values / scale), -8, 7)


def _value(integers: Array, scale: Any) -> Array:
    """What `mfm.unpack` makes of them."""
    return np.clip(integers * scale, -128, 127)
