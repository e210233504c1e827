"""`patches`: every window's elements, gathered at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build


def lower_patches(op: Any) -> ir.Value:
    """Pad, then one strided copy."""
    padding = list(op.padding)
    padded = build.pad(op.x, [0, *padding, 0], [0, *padding, 0])
    counts = build.shape(op.result)[1:-1]
    rows = windows(padded, counts, list(op.kernel), list(op.stride), list(op.dilation))
    return build.reshape(rows, build.shape(op.result))


def windows(
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
