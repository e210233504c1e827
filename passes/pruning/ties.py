"""Which axes of an operation's other operands and results shrink with one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.passes.pruning.layout import Layout, reshaped

Tie = tuple[ir.Value, Layout]


class FixedError(Exception):
    """An axis that cannot shrink; the message says what holds it."""


def ties(op: ir.OpView, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    """What shrinks with an operand or result; raises `FixedError` where the operation needs all."""
    rule = _RULES.get(type(op))
    if rule is None:
        raise FixedError(f"{op.operation.name} reads or makes them")
    return rule(op, value, layout, count)


def segment(op: mfm.SliceOp, layout: Layout, count: int) -> int | None:
    """Elements of one repetition, where a slice cuts between repetitions; None where it cuts not.

    Raises `FixedError` where it cuts elsewhere.
    """
    axis = layout.axis
    whole, part = shape(op.x)[axis], shape(op.result)[axis]
    if whole == part:
        return None
    length = count * layout.block
    if list(op.strides)[axis] != 1 or any(
        extent % length for extent in (whole, part, list(op.offsets)[axis])
    ):
        raise FixedError("mfm.slice cuts through them")
    return length


def _aligned(op: ir.OpView, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    """Axes count from the last; what repeats along the axis stays as it is."""
    back = len(shape(value)) - layout.axis
    for other in (*op.operands, *op.results):
        axis = len(shape(other)) - back
        if axis >= 0 and shape(other)[axis] == layout.extent(count):
            yield other, replace(layout, axis=axis)


def _linear(op: mfm.LinearOp, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    last = len(shape(op.x)) - 1
    rows = [(op.result, last), (op.weight, 0), *([] if op.bias is None else [(op.bias, 0)])]
    if (value, layout.axis) in rows:
        tied = rows
    elif (value, layout.axis) in ((op.x, last), (op.weight, 1)):
        tied = [(op.x, last), (op.weight, 1)]
    else:
        tied = [(op.x, layout.axis), (op.result, layout.axis)]
    for other, axis in tied:
        yield other, replace(layout, axis=axis)


def _attention(op: mfm.AttentionOp, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    """Heads: a group of query heads goes with its key head."""
    shared = shape(op.query)[2] // shape(op.key)[2]
    wide: list[tuple[ir.Value, int]] = [(op.query, 2), (op.result, 2)]
    if op.mask is not None and len(shape(op.mask)) >= 3 and shape(op.mask)[-3] > 1:
        wide.append((op.mask, len(shape(op.mask)) - 3))
    narrow = [(op.key, 2), (op.value, 2)]
    block = layout.block
    if (value, layout.axis) in wide and block % shared == 0:
        block //= shared
    elif (value, layout.axis) not in narrow:
        raise FixedError("mfm.attention needs all of a head and of a group")
    for others, size in ((narrow, block), (wide, block * shared)):
        for other, axis in others:
            yield other, Layout(axis, layout.repeats, size)


def _reshape(op: mfm.ReshapeOp, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    other = op.result if value == op.x else op.x
    found = reshaped(layout, count, shape(value), shape(other))
    if found is None:
        raise FixedError("mfm.reshape scatters them")
    yield other, found


def _transpose(op: mfm.TransposeOp, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    order = list(op.permutation)
    if value == op.x:
        yield op.result, replace(layout, axis=order.index(layout.axis))
    else:
        yield op.x, replace(layout, axis=order[layout.axis])


def _slice(op: mfm.SliceOp, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    other = op.result if value == op.x else op.x
    length = segment(op, layout, count)
    repeats = layout.repeats if length is None else shape(other)[layout.axis] // length
    yield other, replace(layout, repeats=repeats)


def _same_axis(op: Any, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    """Operations on other axes; the operand that is normalized is the first."""
    for other in (op.operands[0], op.result):
        if shape(other)[layout.axis] != layout.extent(count):
            raise FixedError(f"{op.operation.name} adds to them")
        yield other, layout


def _norm(op: Any, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    if layout.axis == len(shape(op.x)) - 1 or value not in (op.x, op.result):
        raise FixedError(f"{op.operation.name} takes all of them together")
    return _same_axis(op, value, layout, count)


def _concatenate(
    op: mfm.ConcatenateOp, value: ir.Value, layout: Layout, count: int
) -> Iterator[Tie]:
    if layout.axis == op.axis.value:
        raise FixedError("mfm.concatenate joins them with others")
    for other in (*op.parts, op.result):
        yield other, layout


def _cache_update(
    op: mfm.CacheUpdateOp, value: ir.Value, layout: Layout, count: int
) -> Iterator[Tie]:
    if layout.axis < 2:
        raise FixedError("mfm.cache_update numbers them")
    for other in (op.cache, op.rows, op.result):
        yield other, layout


def _embedding(op: mfm.EmbeddingOp, value: ir.Value, layout: Layout, count: int) -> Iterator[Tie]:
    last = len(shape(op.result)) - 1
    if (value, layout.axis) not in ((op.table, 1), (op.result, last)):
        raise FixedError("mfm.embedding looks them up")
    yield op.table, replace(layout, axis=1)
    yield op.result, replace(layout, axis=last)


_RULES: dict[type, Callable[[Any, ir.Value, Layout, int], Iterator[Tie]]] = {
    **dict.fromkeys(
        (
            mfm.AddOp,
            mfm.BinaryOp,
            mfm.BroadcastOp,
            mfm.CompareOp,
            mfm.ConvertOp,
            mfm.GeluOp,
            mfm.MultiplyScalarOp,
            mfm.SelectOp,
            mfm.UnaryOp,
        ),
        _aligned,
    ),
    mfm.AttentionOp: _attention,
    mfm.CacheUpdateOp: _cache_update,
    mfm.ConcatenateOp: _concatenate,
    mfm.EmbeddingOp: _embedding,
    mfm.LayerNormOp: _norm,
    mfm.LinearOp: _linear,
    mfm.PadOp: _same_axis,
    mfm.ReshapeOp: _reshape,
    mfm.RmsNormOp: _norm,
    mfm.SliceOp: _slice,
    mfm.TransposeOp: _transpose,
}
