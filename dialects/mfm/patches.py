"""Sliding windows as rows: what makes a convolution, or a pooling, a product or a reduction."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import (
    Array,
    IntegersAttribute,
    Operation,
    element,
    expect_element,
    expect_shape,
    shape,
)


def window_counts(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Number of windows along each axis: ``(L + 2 p - d (k - 1) - 1) // s + 1``."""
    return [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]


class PatchesOp(Operation, name="patches", traits=[ext.Pure]):
    """The windows of a convolution, channels last, one row each; zeros outside.

    x (B, *sizes, C) of any element type; kernel, stride, padding (on both sides) and dilation have
    one number per axis of sizes. Result (B, *counts, taps * C), the taps in row-major order and a
    tap's channels together; counts as in `window_counts`. Movement only: on integers of a
    symmetric scale 0 is zero as well.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]
    kernel: IntegersAttribute
    stride: IntegersAttribute
    padding: IntegersAttribute
    dilation: IntegersAttribute

    least_axes = {"x": 3}

    def check(self) -> Iterator[str]:
        batch, *sizes, channels = shape(self.x)
        kernel, stride = list(self.kernel), list(self.stride)
        padding, dilation = list(self.padding), list(self.dilation)
        yield from expect_element("result", self.result, element(self.x))
        numbers = f"kernel {kernel}, stride {stride}, padding {padding}, dilation {dilation}"
        counts_fit = {len(kernel), len(stride), len(padding), len(dilation)} == {len(sizes)}
        if not counts_fit or min((*kernel, *stride, *dilation)) < 1 or min(padding) < 0:
            yield f"has {numbers} for {len(sizes)} axes"
            return
        counts = window_counts(sizes, kernel, stride, padding, dilation)
        if min(counts) < 1:
            yield f"has no window of {numbers} in {sizes}"
            return
        row = int(np.prod(kernel)) * channels
        yield from expect_shape("result", self.result, (batch, *counts, row))

    def reference(self, *inputs: Array) -> Array:
        widths = [(0, 0), *[(p, p) for p in self.padding], (0, 0)]
        padded = np.pad(inputs[0], widths)
        extents = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        axes = tuple(range(1, len(extents) + 1))
        # (B, *positions, C, *extents)
        view = np.lib.stride_tricks.sliding_window_view(padded, extents, axes)
        steps = [slice(None, None, step) for step in self.stride]
        taps = [slice(None, None, step) for step in self.dilation]
        view = view[(slice(None), *steps, slice(None), *taps)]
        rows = np.moveaxis(view, len(extents) + 1, -1)
        return np.ascontiguousarray(rows).reshape(shape(self.result))
