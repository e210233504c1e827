"""Where the units that are kept or removed together lie along an axis of a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Element ``i`` of unit ``u`` in repetition ``o`` is number ``(o * count + u) * block + i``.

    A hidden channel is a block of 1; a head is one of its depth before the reshape to heads and
    of 1 after it; queries, keys and values made by one product repeat the heads three times.
    """

    axis: int
    repeats: int = 1
    block: int = 1

    def extent(self, count: int) -> int:
        """Extent of the axis for a count of units."""
        return self.repeats * count * self.block

    def elements(self, kept: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """Numbers of the kept units' elements along the axis, in order."""
        units = (np.arange(self.repeats)[:, None] * count + kept)[..., None] * self.block
        return (units + np.arange(self.block)).reshape(-1)

    def per_unit(self, values: NDArray[Any], count: int) -> NDArray[Any]:
        """Sums of one value per element of the axis, by unit."""
        return values.reshape(self.repeats, count, self.block).sum(axis=(0, 2))


def reshaped(
    layout: Layout, count: int, source: Sequence[int], target: Sequence[int]
) -> Layout | None:
    """The layout after a reshape, or None where a unit is no block of one axis any more."""
    unit = math.prod(source[layout.axis + 1 :]) * layout.block
    stride = 1
    for axis in reversed(range(len(target))):
        through = stride * target[axis]
        if unit % stride == 0 and through % (unit * count) == 0:
            return Layout(axis, through // (unit * count), unit // stride)
        stride = through
    return None


def take(array: NDArray[Any], elements: NDArray[np.intp], axis: int) -> NDArray[Any]:
    """Some elements along an axis: a view where all are one in memory, a copy elsewhere."""
    where = (slice(None),) * axis
    if array.strides[axis] == 0:
        return array[(*where, slice(0, len(elements)))]
    return array[(*where, elements)]
