"""Ranges below the largest magnitude: what few values lose, all others win in precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.passes.base import Compilation
from girih.passes.examples import run_examples
from girih.passes.quantization.plan import PRODUCTS, Group, Plan, is_quantizable
from girih.passes.statistics import HIDDEN

Array = NDArray[Any]
Ranges = Literal["largest", "percentile", "mse"]
"""What an activation's range is: all that was seen, all but a share, or that of least error."""

BINS = 2048
_CANDIDATES = 256
"""Ranges that are tried for the least error: equal parts of the largest."""
_LARGEST_INTEGER = 127


@dataclass
class Histogram:
    """Magnitudes up to `largest`, counted in equal bins; 0 is left out, exact in every range.

    The range is known before the first value, from an earlier look at the same inputs, so that
    memory is that of the bins whatever is counted.
    """

    largest: float
    counts: Array = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, magnitudes: Array) -> None:
        """Count magnitudes; those that mark what is hidden are none."""
        seen = magnitudes[(magnitudes > 0) & (magnitudes < HIDDEN)]
        bins = np.minimum(seen * (BINS / self.largest), BINS - 1).astype(np.intp)
        self.counts += np.bincount(bins, minlength=BINS)

    def percentile(self, percent: float) -> float:
        """The least end of a bin that so many of the magnitudes do not exceed."""
        wanted = self.counts.sum() * percent / 100
        return self.largest * (1 + int(np.searchsorted(np.cumsum(self.counts), wanted))) / BINS

    def least_error(self) -> float:
        """The range whose 127 steps have the least mean square error."""
        ranges = self.largest * np.arange(1, _CANDIDATES + 1) / _CANDIDATES
        errors = [self._error(each / _LARGEST_INTEGER) for each in ranges.tolist()]
        return float(ranges[int(np.argmin(errors))])

    def _error(self, step: float) -> float:
        """Sum of squared errors, the values of each bin spread evenly over it."""
        ends = np.arange(BINS + 1) * (self.largest / BINS / step)
        # The integral of the squared error from 0 to each end, in steps: a twelfth for each
        # integer that lies between, and the part of the last one, which beyond 127 has no end.
        nearest = np.minimum(np.rint(ends), _LARGEST_INTEGER)
        integral = nearest / 12 + (ends - nearest) ** 3 / 3
        return float(self.counts @ np.diff(integral)) * step**3


def clip_ranges(
    plan: Plan,
    functions: Sequence[func.FuncOp],
    compilation: Compilation,
    ranges: Ranges,
    percentile: float,
) -> None:
    """Narrow the groups of 8 bits by a second look at the calibration inputs.

    What lies beyond a range saturates. ``percentile``: so many of a hundred values do not (Wu et
    al. 2020, "Integer quantization for deep learning inference"); ``mse``: rounding and saturation
    together lose least. Counted is what products read, after its channels are divided by the
    group's factor. 16 bits have room for all values and keep the largest.
    """
    histograms: dict[int, Histogram] = {}
    read: dict[ir.Value, Group] = {}
    for group in plan.groups:
        values = [value for value in group.members if _is_multiplied(value)]
        if group.bits == 8 and values:
            histograms[id(group)] = Histogram(group.scale * _LARGEST_INTEGER)
            read.update(dict.fromkeys(values, group))

    def count(function: str, name: ir.Value, value: Array) -> None:
        group = read.get(name)
        if group is not None:
            magnitudes = np.abs(value) if group.factor is None else np.abs(value) / group.factor
            histograms[id(group)].add(magnitudes)

    run_examples({each.name.value: each for each in functions}, compilation, count)
    for group in plan.groups:
        histogram = histograms.get(id(group))
        if histogram is not None and histogram.counts.any():
            group.maximum = (
                histogram.least_error() if ranges == "mse" else histogram.percentile(percentile)
            )


def _is_multiplied(value: ir.Value) -> bool:
    users = (use.owner.operation.opview for use in value.uses)
    return any(isinstance(user, PRODUCTS) and is_quantizable(user) for user in users)
