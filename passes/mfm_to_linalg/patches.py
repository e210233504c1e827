"""`patches`: the elements of every window, in one row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import tensor

from girih.passes.mfm_to_linalg import build

_FEW_TAPS = 16
"""Taps up to which each is a slice of its own: runs faster, but takes time to compile."""


def lower_patches(op: Any) -> ir.Value:
    """Pad, then gather."""
    counts = build.shape(op.result)[1:-1]
    numbers = (list(each) for each in (op.kernel, op.stride, op.padding, op.dilation))
    return windows(op.x, counts, *numbers)


def windows(
    x: ir.Value,
    counts: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> ir.Value:
    """(B, *sizes, C) --> (B, *counts, taps * C), zeros outside."""
    padded = build.pad(x, [0, *padding, 0], [0, *padding, 0])
    batch, *_, channels = build.shape(padded)
    taps = math.prod(kernel)
    if taps > _FEW_TAPS:
        rows = _gathered(padded, counts, kernel, stride, dilation)
        return build.reshape(rows, [batch, *counts, taps * channels])
    slices = [
        build.slice_(
            padded,
            [0, *(place * d for place, d in zip(tap, dilation, strict=True)), 0],
            [batch, *counts, channels],
            [1, *stride, 1],
        )
        for tap in itertools.product(*(range(size) for size in kernel))
    ]
    if len(slices) == 1:
        return slices[0]
    kind = build.tensor_type([batch, *counts, taps * channels], build.element(x))
    return tensor.ConcatOp(kind, len(kernel) + 1, slices).result


def _gathered(
    padded: ir.Value,
    counts: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> ir.Value:
    """(B, *sizes, C) --> (B, *counts, *kernel, C): one operation whatever the number of taps."""
    batch, *_, channels = build.shape(padded)
    # Without the rest that no window reaches: IREE takes a single window for the whole axis.
    reach = [
        (count - 1) * s + (k - 1) * d + 1
        for count, k, s, d in zip(counts, kernel, stride, dilation, strict=True)
    ]
    extent = (batch, *reach, channels)
    if extent != build.shape(padded):
        padded = build.slice_(padded, [0] * len(extent), extent)
    sizes, axes = [batch, *counts, *kernel, channels], len(kernel)
    rank, loop = len(sizes), ir.AffineExpr.get_dim
    places = [
        loop(1 + axis) * stride[axis] + loop(1 + axes + axis) * dilation[axis]
        for axis in range(axes)
    ]
    source = ir.AffineMap.get(rank, 0, [loop(0), *places, loop(rank - 1)])
    out = build.empty(sizes, build.element(padded))
    return build.generic(
        [(padded, source)],
        [(out, build.dimensions(rank, range(rank)))],
        ["parallel"] * rank,
        lambda value, _: [value],
    )[0]
