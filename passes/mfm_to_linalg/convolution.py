"""`conv1d` and `integer_conv1d`: the overlapping rows are gathered, then multiplied."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build, linear, patches, scalar


def lower_conv1d(op: Any) -> ir.Value:
    """A product of windows and the weight, and the bias."""
    rows = windows(op.x, op.kernel.value, op.stride.value, op.padding.value)
    sums = linear.product(rows, op.weight, ir.F32Type.get())
    return linear.with_bias(sums, op.bias, build.shape(op.result))


def lower_integer_conv1d(op: Any) -> ir.Value:
    """Exact sums over windows, then bias and rescale."""
    rows = windows(op.x, op.kernel.value, op.stride.value, op.padding.value)
    sums = linear.product(rows, op.weight, scalar.integer_type(32))
    return linear.rescale_channels(sums, op.parameters, op.result.type)


def windows(x: ir.Value, kernel: int, stride: int, padding: int) -> ir.Value:
    """(B, L, C) -> (B, L', kernel * C): the rows a convolution multiplies, zeros outside."""
    _, length, _ = build.shape(x)
    steps = (length + 2 * padding - kernel) // stride + 1
    return patches.windows(x, [steps], [kernel], [stride], [padding], [1])
