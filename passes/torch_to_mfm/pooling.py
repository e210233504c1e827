"""Pooling: reductions over windows, and means over windows of unlike sizes as products."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import BinaryOp, MultiplyScalarOp, PadOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.convolution import per_axis
from girih.passes.torch_to_mfm.reduction import reduced
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    element_count,
    float_attribute,
)
from girih.passes.torch_to_mfm.separable import along_axes
from girih.passes.torch_to_mfm.windows import Window, blocks, patches


def _max_pool(axes: int) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        """aten.max_pool(x, kernel, stride, padding, dilation, ceil_mode), without places."""
        if any(list(result.uses) for result in list(op.results)[1:]):
            raise NotConvertibleError("the places of the largest elements have no mfm form")
        kernel, stride, padding, dilation = (
            per_axis(rewriter.constant(op.operands[index]), axes) for index in (1, 2, 3, 4)
        )
        window = Window(
            tuple(kernel), tuple(stride or kernel), tuple(dilation), tuple(padding), tuple(padding)
        )
        return _pooled(rewriter, op, window, "maximum")

    return convert


def _average_pool(axes: int) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        """aten.avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor?)."""
        kernel, stride, padding = (
            per_axis(rewriter.constant(op.operands[index]), axes) for index in (1, 2, 3)
        )
        around = tuple(padding)
        window = Window(tuple(kernel), tuple(stride or kernel), (1,) * axes, around, around)
        total = _pooled(rewriter, op, window, "sum")
        include = rewriter.constant(op.operands[5])
        divisor = rewriter.constant(op.operands[6]) if len(op.operands) > 6 else None
        if divisor is not None:
            return _times(total, 1 / divisor)
        sizes = rewriter.tensor(op.operands[0]).type.shape[-axes:]
        counts = _elements(list(sizes), window, list(shape(total)[-axes:]), include)
        if counts.min() == counts.max():
            return _times(total, 1 / float(counts.flat[0]))
        inverse = rewriter.parameter(
            f"pool.{window}.{list(sizes)}.{include}", 1 / counts, total.type.element_type
        )
        function = ir.StringAttr.get("multiply")
        return BinaryOp(lhs=total, rhs=inverse, function=function, result=total.type).result

    return convert


def _times(x: ir.Value, factor: float) -> ir.Value:
    return MultiplyScalarOp(x=x, factor=float_attribute(factor), result=x.type).result


def _elements(
    sizes: list[int], window: Window, counts: list[int], include: bool
) -> NDArray[np.float32]:
    """Elements that each window is the mean of: torch cuts windows at the padding's end."""
    result = np.ones((), np.float32)
    for size, k, s, p, count in zip(
        sizes, window.kernel, window.stride, window.low, counts, strict=True
    ):
        start = np.arange(count) * s - p
        end = np.minimum(start + k, size + p)
        if not include:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        result = np.multiply.outer(result, (end - start).astype(np.float32))
    return result


def _pooled(rewriter: Rewriter, op: ir.OpView, window: Window, function: str) -> ir.Value:
    """The reduction of every window, channels last meanwhile: (..., C, *sizes)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    result, axes = rewriter.builtin_type(op.results[0]), len(window.kernel)
    sizes, counts = shape(x)[-axes:], list(result.shape)[-axes:]
    channels = shape(x)[-axes - 1]
    rank = axes + 2
    x = rewriter.reshape(x, [element_count(shape(x)[: -axes - 1]), channels, *sizes])
    rows = rewriter.transpose(x, (0, *range(2, rank), 1))
    rows = _surrounded(rows, window, counts, float("-inf") if function == "maximum" else 0.0)
    bare = Window(window.kernel, window.stride, window.dilation, (0,) * axes, (0,) * axes)
    if bare.tiles:
        taken = blocks(rewriter, rows, window.kernel, channels_first=False)
    else:
        taken = patches(rewriter, rows, bare)
    taps = rewriter.reshape(taken, [shape(x)[0], *counts, element_count(window.kernel), channels])
    value = reduced(rewriter, taps, function, [rank - 1])
    value = rewriter.transpose(value, (0, rank - 1, *range(1, rank - 1)))
    return rewriter.reshape(value, result.shape)


def _surrounded(x: ir.Value, window: Window, counts: list[int], fill: float) -> ir.Value:
    """Padding before, and after as much as the last window needs (more with ceil_mode)."""
    batch, *sizes, channels = shape(x)
    high = [
        max(0, (count - 1) * s + d * (k - 1) + 1 - size - low)
        for count, k, s, d, size, low in zip(
            counts, window.kernel, window.stride, window.dilation, sizes, window.low, strict=True
        )
    ]
    if not any((*window.low, *high)):
        return x
    wide = [a + size + b for a, size, b in zip(window.low, sizes, high, strict=True)]
    return PadOp(
        x=x,
        low=ir.DenseI64ArrayAttr.get([0, *window.low, 0]),
        high=ir.DenseI64ArrayAttr.get([0, *high, 0]),
        value=float_attribute(fill),
        result=ir.RankedTensorType.get([batch, *wide, channels], x.type.element_type),
    ).result


def _adaptive(axes: int) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        """aten.adaptive_avg_pool(x, sizes): equal windows, or a matrix along each axis."""
        x = rewriter.tensor(op.operands[0])
        rewriter.require_float32(x)
        sizes = list(shape(x))[-axes:]
        counts = list(rewriter.builtin_type(op.results[0]).shape)[-axes:]
        if all(size % count == 0 for size, count in zip(sizes, counts, strict=True)):
            kernel = tuple(size // count for size, count in zip(sizes, counts, strict=True))
            window = Window(kernel, kernel, (1,) * axes, (0,) * axes, (0,) * axes)
            total = _pooled(rewriter, op, window, "sum")
            return _times(total, 1 / element_count(kernel))
        matrices = [
            F.adaptive_avg_pool1d(torch.eye(size)[None], count)[0].T.numpy()
            for size, count in zip(sizes, counts, strict=True)
        ]
        names = [f"adaptive.{size}.{count}" for size, count in zip(sizes, counts, strict=True)]
        return along_axes(rewriter, x, matrices, names)

    return convert


CONVERTERS: dict[str, Converter] = {
    **{
        f"torch.aten.max_pool{axes}d{form}": _max_pool(axes)
        for axes in (1, 2, 3)
        for form in ("", "_with_indices")
    },
    **{f"torch.aten.avg_pool{axes}d": _average_pool(axes) for axes in (1, 2, 3)},
    **{f"torch.aten.adaptive_avg_pool{axes}d": _adaptive(axes) for axes in (1, 2)},
}
