"""`conv1d` and `integer_conv1d`: the overlapping rows are gathered, then multiplied."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import tensor

from girih.passes.mfm_to_linalg import build, linear, scalar


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
    batch, length, channels = build.shape(x)
    steps = (length + 2 * padding - kernel) // stride + 1
    padded = build.pad(x, [0, padding, 0], [0, padding, 0])
    taps = [
        build.slice_(padded, [0, tap, 0], [batch, steps, channels], [1, stride, 1])
        for tap in range(kernel)
    ]
    if len(taps) == 1:
        return taps[0]
    kind = build.tensor_type([batch, steps, kernel * channels], build.element(x))
    return tensor.ConcatOp(kind, 2, taps).result
