"""Weights without values: arrays of any shape that repeat one element, in the memory of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from girih.dialects.mfm.base import Array


def is_hollow(array: Array) -> bool:
    """Whether an array stands for a weight that is not there: its elements are one in memory."""
    return array.size > 1 and all(
        stride == 0 or size == 1 for size, stride in zip(array.shape, array.strides, strict=True)
    )


ELEMENT = 0.37
"""What stands for every element of a weight that is not there: a number that no model writes."""


def is_unknown(array: Array) -> bool:
    """Whether the elements are not those of the model: a constant may repeat its element too."""
    if not is_hollow(array):
        return False
    first = array[(0,) * array.ndim]
    return bool(first == np.asarray(ELEMENT).astype(array.dtype))


def hollow(shape: tuple[int, ...], dtype: np.dtype[Any], element: float = ELEMENT) -> Array:
    """An array that takes the memory of one element."""
    return np.broadcast_to(np.asarray(element).astype(dtype), shape)


def once(array: Array) -> Array:
    """A view without repetition: each axis along which elements repeat has extent 1."""
    kept = (slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)
    return array[tuple(kept)]


def elementwise(function: Callable[[Array], Array], array: Array) -> Array:
    """A function of every element; of elements that repeat it is computed once."""
    return np.broadcast_to(function(once(array)), array.shape)


def same(first: Array, second: Array) -> bool:
    """Whether two arrays have equal shapes and elements; repeated ones are compared once."""
    return first.shape == second.shape and bool((once(first) == once(second)).all())
