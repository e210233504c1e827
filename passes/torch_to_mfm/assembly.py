"""Concatenation, padding, repetition, and slices put back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import ConcatenateOp, PadOp, SliceOp, TakeOp
from girih.dialects.mfm.assembly import MOST_PARTS
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    axis_of,
    float_attribute,
    integer_attribute,
)


def concatenated(parts: Sequence[ir.Value], axis: int) -> ir.Value:
    """Tensors one after another along an axis."""
    if len(parts) == 1:
        return parts[0]
    if len(parts) > MOST_PARTS:
        groups = [parts[i : i + MOST_PARTS] for i in range(0, len(parts), MOST_PARTS)]
        return concatenated([concatenated(group, axis) for group in groups], axis)
    sizes = list(shape(parts[0]))
    sizes[axis] = sum(shape(part)[axis] for part in parts)
    result = ir.RankedTensorType.get(sizes, parts[0].type.element_type)
    return ConcatenateOp.of(parts, result, integer_attribute(axis)).result


def sliced(x: ir.Value, axis: int, start: int, end: int, step: int = 1) -> ir.Value:
    """Elements start, start + step, ... below end along an axis; x where that is all of them."""
    sizes = list(shape(x))
    if (start, end, step) == (0, sizes[axis], 1):
        return x
    offsets, strides = [0] * len(sizes), [1] * len(sizes)
    offsets[axis], strides[axis] = start, step
    sizes[axis] = -(-(end - start) // step)
    return SliceOp(
        x=x,
        offsets=ir.DenseI64ArrayAttr.get(offsets),
        strides=ir.DenseI64ArrayAttr.get(strides),
        result=ir.RankedTensorType.get(sizes, x.type.element_type),
    ).result


def taken(rewriter: Rewriter, x: ir.Value, axis: int, places: Sequence[int]) -> ir.Value:
    """Slices at constant places along an axis."""
    indices = rewriter.parameter(
        f"places.{'.'.join(map(str, places))}"
        if len(places) <= 16
        else f"places.{len(places)}.{hash(tuple(places)) & 0xFFFFFFFF:08x}",
        np.asarray(places, np.int64),
        ir.IntegerType.get_signless(64),
    )
    sizes = list(shape(x))
    sizes[axis] = len(places)
    result = ir.RankedTensorType.get(sizes, x.type.element_type)
    return TakeOp(x=x, indices=indices, axis=integer_attribute(axis), result=result).result


def _list(rewriter: Rewriter, value: ir.Value) -> list[ir.Value]:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != "torch.prim.ListConstruct":
        raise NotConvertibleError("the tensors come as a list that is computed")
    return [rewriter.tensor(each) for each in owner.operands]


def concatenate(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.cat(tensors, axis); torch lets an empty tensor of one axis pass."""
    result = rewriter.builtin_type(op.results[0])
    parts = [rewriter.converted(x, result.element_type) for x in _list(rewriter, op.operands[0])]
    parts = [part for part in parts if 0 not in shape(part)]
    if not parts:
        raise NotConvertibleError("there is nothing to concatenate")
    return concatenated(parts, axis_of(rewriter.constant(op.operands[1]), len(result.shape)))


def stack(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.stack(tensors, axis)."""
    result = rewriter.builtin_type(op.results[0])
    axis = axis_of(rewriter.constant(op.operands[1]), len(result.shape))
    unit = [1 if each == axis else size for each, size in enumerate(result.shape)]
    parts = [
        rewriter.reshape(rewriter.converted(part, result.element_type), unit)
        for part in _list(rewriter, op.operands[0])
    ]
    return concatenated(parts, axis)


def pad(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.constant_pad_nd(x, widths, value) and aten.pad(x, widths, mode, value)."""
    widths: list[int] = rewriter.constant(op.operands[1])
    mode, value = "constant", 0.0
    if op.operation.name.endswith(".pad"):
        mode = rewriter.constant(op.operands[2])
        found = rewriter.constant(op.operands[3])
        value = 0.0 if found is None else found
    else:
        value = rewriter.constant(op.operands[2])
    x = rewriter.tensor(op.operands[0])
    rank = len(shape(x))
    low, high = [0] * rank, [0] * rank
    for index in range(len(widths) // 2):
        low[rank - 1 - index], high[rank - 1 - index] = widths[2 * index : 2 * index + 2]
    if mode != "constant":
        return _mirrored(rewriter, x, low, high, mode)
    for axis in range(rank):
        size = shape(x)[axis]
        x = sliced(x, axis, max(0, -low[axis]), size - max(0, -high[axis]))
    low, high = ([max(0, width) for width in side] for side in (low, high))
    if not any(low) and not any(high):
        return x
    result = rewriter.builtin_type(op.results[0])
    return PadOp(
        x=x,
        low=ir.DenseI64ArrayAttr.get(low),
        high=ir.DenseI64ArrayAttr.get(high),
        value=float_attribute(value),
        result=result,
    ).result


def _mirrored(
    rewriter: Rewriter, x: ir.Value, low: list[int], high: list[int], mode: str
) -> ir.Value:
    modes = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if mode not in modes or min((*low, *high)) < 0:
        raise NotConvertibleError(f"padding with mode {mode!r} has no mfm form")
    for axis in range(len(low)):
        if low[axis] or high[axis]:
            places = np.arange(shape(x)[axis])
            places = np.pad(places, (low[axis], high[axis]), mode=modes[mode])  # type: ignore[call-overload]
            x = taken(rewriter, x, axis, places.tolist())
    return x


def flip(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.flip(x, axes)."""
    x = rewriter.tensor(op.operands[0])
    for axis in rewriter.constant(op.operands[1]):
        axis = axis_of(axis, len(shape(x)))
        x = taken(rewriter, x, axis, list(range(shape(x)[axis]))[::-1])
    return x


def roll(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.roll(x, shifts, axes): two slices change places."""
    x = rewriter.tensor(op.operands[0])
    shifts, axes = rewriter.constant(op.operands[1]), rewriter.constant(op.operands[2])
    if not axes:
        raise NotConvertibleError("rolling over all axes at once has no mfm form")
    for shift, axis in zip(shifts, axes, strict=True):
        axis = axis_of(axis, len(shape(x)))
        size = shape(x)[axis]
        cut = -shift % size
        if cut:
            x = concatenated([sliced(x, axis, cut, size), sliced(x, axis, 0, cut)], axis)
    return x


def repeat(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.repeat(x, counts): a broadcast along new axes, then a reshape."""
    x = rewriter.tensor(op.operands[0])
    counts: list[int] = rewriter.constant(op.operands[1])
    own = [1] * (len(counts) - len(shape(x))) + list(shape(x))
    unit = [each for size in own for each in (1, size)]
    wide = [each for count, size in zip(counts, own, strict=True) for each in (count, size)]
    repeated = rewriter.broadcast(rewriter.reshape(x, unit), wide)
    return rewriter.reshape(repeated, rewriter.builtin_type(op.results[0]).shape)


def slice_scatter(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.slice_scatter(x, source, axis, start, end, step = 1): what surrounds, and the source."""
    x, source = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    axis, start, _, step = (rewriter.constant(value) for value in list(op.operands)[2:6])
    axis = axis_of(axis, len(shape(x)))
    size = shape(x)[axis]
    start = min(max((start or 0) + (size if (start or 0) < 0 else 0), 0), size)
    if step != 1:
        raise NotConvertibleError("writing with a step has no mfm form")
    return _replaced(x, source, axis, start, start + shape(source)[axis])


def select_scatter(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.select_scatter(x, source, axis, index)."""
    x, source = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    axis, index = (rewriter.constant(value) for value in list(op.operands)[2:4])
    axis = axis_of(axis, len(shape(x)))
    index = axis_of(index, shape(x)[axis])
    unit = [1 if each == axis else size for each, size in enumerate(shape(x))]
    return _replaced(x, rewriter.reshape(source, unit), axis, index, index + 1)


def _replaced(x: ir.Value, source: ir.Value, axis: int, start: int, end: int) -> ir.Value:
    size = shape(x)[axis]
    parts = [source]
    if start > 0:
        parts.insert(0, sliced(x, axis, 0, start))
    if end < size:
        parts.append(sliced(x, axis, end, size))
    return concatenated(parts, axis)


CONVERTERS: dict[str, Converter] = {
    "torch.aten.cat": concatenate,
    "torch.aten.stack": stack,
    "torch.aten.constant_pad_nd": pad,
    "torch.aten.pad": pad,
    "torch.aten.flip": flip,
    "torch.aten.roll": roll,
    "torch.aten.repeat": repeat,
    "torch.aten.slice_scatter": slice_scatter,
    "torch.aten.select_scatter": select_scatter,
}
