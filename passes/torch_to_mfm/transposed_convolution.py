"""Transposed convolutions: blocks put side by side, or zeros put between and a convolution."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import LinearOp, PadOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.assembly import sliced
from girih.passes.torch_to_mfm.constants import known
from girih.passes.torch_to_mfm.convolution import Filter, convert, convolved, per_axis
from girih.passes.torch_to_mfm.rewriter import Converter, Rewriter, element_count, float_attribute
from girih.passes.torch_to_mfm.windows import Window


def transposed_convolution(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.conv_transpose1d, 2d, 3d.

    (x, weight (C, N / groups, *kernel), bias?, stride, padding, added, groups, dilation)
    """
    return _converted(rewriter, op, *(op.operands[index] for index in (3, 4, 5, 7, 6)))


def general_convolution(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.convolution(x, weight, bias?, stride, padding, dilation, transposed, added, groups)."""
    if rewriter.constant(op.operands[6]):
        return _converted(rewriter, op, *(op.operands[index] for index in (3, 4, 7, 5, 8)))
    return convert(rewriter, op, op.operands[8])


def _converted(rewriter: Rewriter, op: ir.OpView, *arguments: ir.Value) -> ir.Value:
    """Of the arguments stride, padding, added size, dilation and groups."""
    x, weight = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    rewriter.require_float32(x, weight)
    kernel = shape(weight)[2:]
    stride, padding, added, dilation = (
        per_axis(rewriter.constant(value), len(kernel)) for value in arguments[:4]
    )
    groups: int = rewriter.constant(arguments[4])
    bias = None if rewriter.is_none(op.operands[2]) else rewriter.tensor(op.operands[2])
    if len(shape(x)) == len(kernel) + 1:
        x = rewriter.reshape(x, [1, *shape(x)])
    weight = known(rewriter, weight)
    simple = groups == 1 and not any((*padding, *added)) and set(dilation) == {1}
    if simple and stride == list(kernel):
        out = _side_by_side(rewriter, x, weight, bias)
    else:
        around = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
        after = [low + more for low, more in zip(around, added, strict=True)]
        wide = _spread(rewriter, x, stride, around, after)
        ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
        window = Window(kernel, ones, tuple(dilation), zeros, zeros)
        mirrored = _mirrored(rewriter, weight, groups)
        out = convolved(rewriter, wide, Filter(mirrored, bias, groups), window)
    return rewriter.reshape(out, rewriter.builtin_type(op.results[0]).shape)


def _side_by_side(
    rewriter: Rewriter, x: ir.Value, weight: ir.Value, bias: ir.Value | None
) -> ir.Value:
    """Every element becomes a block of its own: a linear to all taps, and movement."""
    array = rewriter.array(weight)
    inputs, outputs, *kernel = array.shape
    taps, axes = element_count(kernel), len(kernel)
    matrix = np.ascontiguousarray(np.moveaxis(array.reshape(inputs, outputs, taps), 0, -1))
    matrix = matrix.transpose(1, 0, 2).reshape(taps * outputs, inputs)
    if bias is not None:
        source = known(rewriter, bias)
        bias = rewriter.derived(source, f"{taps} times", np.tile(rewriter.array(source), taps))
    rows = rewriter.transpose(x, (0, *range(2, axes + 2), 1))
    batch, *sizes, _ = shape(rows)
    kind = x.type.element_type
    result = ir.RankedTensorType.get([batch, *sizes, taps * outputs], kind)
    out = LinearOp(
        x=rows, weight=rewriter.derived(weight, "taps", matrix), bias=bias, result=result
    ).result
    out = rewriter.reshape(out, [batch, *sizes, *kernel, outputs])
    order = [each for axis in range(axes) for each in (1 + axis, 1 + axes + axis)]
    out = rewriter.transpose(out, (0, *order, 2 * axes + 1))
    wide = [size * k for size, k in zip(sizes, kernel, strict=True)]
    out = rewriter.reshape(out, [batch, *wide, outputs])
    return rewriter.transpose(out, (0, axes + 1, *range(1, axes + 1)))


def _spread(
    rewriter: Rewriter, x: ir.Value, stride: list[int], low: list[int], high: list[int]
) -> ir.Value:
    """(B, C, *sizes) with stride - 1 zeros between elements, and low and high around them."""
    for axis, step in enumerate(stride, 2):
        before, after = low[axis - 2], high[axis - 2]
        if step > 1:
            sizes = shape(x)
            x = rewriter.reshape(x, [*sizes[: axis + 1], 1, *sizes[axis + 1 :]])
            x = _padded(x, axis + 1, 0, step - 1)
            x = rewriter.reshape(x, [*sizes[:axis], sizes[axis] * step, *sizes[axis + 1 :]])
            after -= step - 1
        start, end = max(0, -before), shape(x)[axis] - max(0, -after)
        x = _padded(sliced(x, axis, start, end), axis, max(0, before), max(0, after))
    return x


def _padded(x: ir.Value, axis: int, before: int, after: int) -> ir.Value:
    if before == after == 0:
        return x
    sizes = list(shape(x))
    low, high = [0] * len(sizes), [0] * len(sizes)
    low[axis], high[axis] = before, after
    sizes[axis] += before + after
    return PadOp(
        x=x,
        low=ir.DenseI64ArrayAttr.get(low),
        high=ir.DenseI64ArrayAttr.get(high),
        value=float_attribute(0.0),
        result=ir.RankedTensorType.get(sizes, x.type.element_type),
    ).result


def _mirrored(rewriter: Rewriter, weight: ir.Value, groups: int) -> ir.Value:
    """(C, N / groups, *kernel) --> (N, C / groups, *kernel), the taps in reverse order."""
    array = rewriter.array(weight)
    inputs, outputs, *kernel = array.shape
    array = array.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    array = np.flip(array.reshape(groups * outputs, inputs // groups, *kernel), _last(kernel))
    return rewriter.derived(weight, f"mirrored{groups}", np.ascontiguousarray(array))


def _last(kernel: list[int]) -> tuple[int, ...]:
    return tuple(range(2, 2 + len(kernel)))


CONVERTERS: dict[str, Converter] = {
    "torch.aten.conv_transpose1d": transposed_convolution,
    "torch.aten.conv_transpose2d.input": transposed_convolution,
    "torch.aten.conv_transpose3d.input": transposed_convolution,
    "torch.aten.convolution": general_convolution,
}
