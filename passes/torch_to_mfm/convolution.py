"""Convolutions: products over windows, channels made last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import (
    Conv1dOp,
    GeluOp,
    LinearOp,
    MultiplyScalarOp,
    PadOp,
    TransposeOp,
    UnaryOp,
)
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.assembly import concatenated, sliced
from girih.passes.torch_to_mfm.constants import known
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    Rewriter,
    float_attribute,
    integer_attribute,
)
from girih.passes.torch_to_mfm.windows import Window, blocks, patches

_BLOCK_CHANNELS = 32
"""Channels up to which groups are multiplied together, as wide as the array of `edge`."""
_MOST_BLOCKS = 64
"""Products that one grouped convolution may become."""


_POINTWISE = (GeluOp, MultiplyScalarOp, UnaryOp)
"""Operations that `simplify` moves transposes across."""


@dataclass(frozen=True)
class Filter:
    """What a convolution multiplies with: weight (N, C / groups, *kernel), bias (N) or absent."""

    weight: ir.Value
    bias: ir.Value | None
    groups: int


def convolution(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.conv1d, 2d, 3d (x, weight, bias?, stride, padding or its name, dilation, groups)."""
    return convert(rewriter, op, op.operands[6])


def convert(rewriter: Rewriter, op: ir.OpView, groups: ir.Value) -> ir.Value:
    """A convolution whose stride, padding and dilation are operands 3, 4 and 5."""
    window = _window(rewriter, op.operands[1], list(op.operands)[3:6])
    return _converted(rewriter, op, window, rewriter.constant(groups))


def _window(rewriter: Rewriter, weight: ir.Value, operands: list[ir.Value]) -> Window:
    kernel = list(rewriter.builtin_type(weight).shape)[2:]
    stride, padding, dilation = (rewriter.constant(value) for value in operands)
    stride, dilation = (per_axis(numbers, len(kernel)) for numbers in (stride, dilation))
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if padding == "same":
        low = [count // 2 for count in total]
        high = [count - before for count, before in zip(total, low, strict=True)]
    elif padding == "valid":
        low = high = [0] * len(kernel)
    else:
        low = high = per_axis(padding, len(kernel))
    return Window(tuple(kernel), tuple(stride), tuple(dilation), tuple(low), tuple(high))


def per_axis(numbers: list[int], axes: int) -> list[int]:
    """Numbers of a list that may have one for all axes."""
    return numbers * axes if len(numbers) == 1 else numbers


def _converted(rewriter: Rewriter, op: ir.OpView, window: Window, groups: int) -> ir.Value:
    x, weight = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    rewriter.require_float32(x, weight)
    bias = None if rewriter.is_none(op.operands[2]) else rewriter.tensor(op.operands[2])
    result = rewriter.builtin_type(op.results[0])
    if len(shape(x)) == len(window.kernel) + 1:
        x = rewriter.reshape(x, [1, *shape(x)])
    out = convolved(rewriter, x, Filter(known(rewriter, weight), bias, groups), window)
    return rewriter.reshape(out, result.shape)


def convolved(rewriter: Rewriter, x: ir.Value, by: Filter, window: Window) -> ir.Value:
    """A convolution, channels first on both sides: (B, C, *sizes) -> (B, N, *counts)."""
    rank = len(shape(x))
    first = (0, rank - 1, *range(1, rank - 1))
    if by.groups == 1 and window.tiles and not _is_channels_last(x):
        return rewriter.transpose(_tiled(rewriter, x, by, window), first)
    rows = rewriter.transpose(x, (0, *range(2, rank), 1))
    return rewriter.transpose(_grouped(rewriter, rows, by, window), first)


def _is_channels_last(x: ir.Value) -> bool:
    """Whether channels come first only because a convolution before put them there."""
    owner = x.owner
    while not isinstance(owner, ir.Block) and isinstance(owner.opview, _POINTWISE):
        owner = owner.operands[0].owner
    if isinstance(owner, ir.Block) or not isinstance(owner.opview, TransposeOp):
        return False
    order = list(owner.opview.permutation)
    return order[1] == len(order) - 1


def _tiled(rewriter: Rewriter, x: ir.Value, by: Filter, window: Window) -> ir.Value:
    """Windows side by side: the picture is cut into blocks, (B, *counts, C * taps)."""
    rows = blocks(rewriter, x, window.kernel, channels_first=True)
    matrix = rewriter.array(by.weight).reshape(shape(by.weight)[0], -1)
    return _linear(rewriter, rows, rewriter.derived(by.weight, "flat", matrix), by.bias)


def _grouped(rewriter: Rewriter, x: ir.Value, by: Filter, window: Window) -> ir.Value:
    """Channels last, (B, *sizes, C) -> (B, *counts, N): one product, or one per few groups.

    Several small groups share a product whose weight has zeros between them: an array of
    multipliers is as busy with 32 channels as with one.
    """
    if by.groups == 1:
        return _product(rewriter, x, by, window)
    array = rewriter.array(by.weight)
    outputs, inputs = array.shape[0] // by.groups, array.shape[1]
    merged = next(
        count
        for count in range(1, by.groups + 1)
        if by.groups % count == 0
        and (count == by.groups or count * inputs >= _BLOCK_CHANNELS)
        and by.groups // count <= _MOST_BLOCKS
    )
    parts = list[ir.Value]()
    for index in range(by.groups // merged):
        start = index * merged * outputs
        end = start + merged * outputs
        weight = rewriter.derived(
            by.weight, f"block{index}.{merged}", _block_diagonal(array[start:end], merged)
        )
        bias = None
        if by.bias is not None:
            source = known(rewriter, by.bias)
            bias = rewriter.derived(
                source, f"block{index}.{merged}", rewriter.array(source)[start:end]
            )
        channels = sliced(
            x, len(shape(x)) - 1, index * merged * inputs, (index + 1) * merged * inputs
        )
        parts.append(_product(rewriter, channels, Filter(weight, bias, 1), window))
    return concatenated(parts, len(shape(x)) - 1)


def _block_diagonal(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """(N, C / groups, *kernel) --> (N, C, *kernel), zeros where a group reads another's input."""
    outputs, inputs, *kernel = weight.shape
    dense = np.zeros((groups, outputs // groups, groups, inputs, *kernel), weight.dtype)
    for group, own in enumerate(weight.reshape(groups, outputs // groups, inputs, *kernel)):
        dense[group, :, group] = own
    return dense.reshape(outputs, groups * inputs, *kernel)


def _product(rewriter: Rewriter, x: ir.Value, by: Filter, window: Window) -> ir.Value:
    """Channels last and one group: a linear of what the window is."""
    array = rewriter.array(by.weight)
    tap_major = np.ascontiguousarray(np.moveaxis(array, 1, -1)).reshape(array.shape[0], -1)
    weight = rewriter.derived(by.weight, "tap_major", tap_major)
    if window.tiles:
        rows = blocks(rewriter, x, window.kernel, channels_first=False)
        return _linear(rewriter, rows, weight, by.bias)
    if window.low != window.high:
        x = _padded(x, window)
        window = replace(window, low=(0,) * len(window.low), high=(0,) * len(window.low))
    if window.dilation != (1,):  # or there are several axes
        return _linear(rewriter, patches(rewriter, x, window), weight, by.bias)
    batch, length, _ = shape(x)
    (kernel,), (stride,), (padding,) = window.kernel, window.stride, window.low
    sizes = [batch, *window.counts([length]), shape(weight)[0]]
    result = ir.RankedTensorType.get(sizes, x.type.element_type)
    return Conv1dOp(
        x=x,
        weight=weight,
        bias=by.bias,
        kernel=integer_attribute(kernel),
        stride=integer_attribute(stride),
        padding=integer_attribute(padding),
        result=result,
    ).result


def _linear(
    rewriter: Rewriter, rows: ir.Value, weight: ir.Value, bias: ir.Value | None
) -> ir.Value:
    sizes = [*shape(rows)[:-1], shape(weight)[0]]
    result = ir.RankedTensorType.get(sizes, rows.type.element_type)
    return LinearOp(x=rows, weight=weight, bias=bias, result=result).result


def _padded(x: ir.Value, window: Window) -> ir.Value:
    sizes = zip(window.low, shape(x)[1:-1], window.high, strict=True)
    batch, channels = shape(x)[0], shape(x)[-1]
    return PadOp(
        x=x,
        low=ir.DenseI64ArrayAttr.get([0, *window.low, 0]),
        high=ir.DenseI64ArrayAttr.get([0, *window.high, 0]),
        value=float_attribute(0.0),
        result=ir.RankedTensorType.get(
            [batch, *(a + size + b for a, size, b in sizes), channels], x.type.element_type
        ),
    ).result


CONVERTERS: dict[str, Converter] = {
    f"torch.aten.conv{axes}d{form}": convolution for axes in (1, 2, 3) for form in ("", ".padding")
}
