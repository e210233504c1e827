"""Shapes, lookups and caches."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import CacheUpdateOp, EmbeddingOp, ScatterRowsOp, SliceOp, TakeOp
from girih.dialects.mfm.base import DTYPES, element, shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    axis_of,
    element_count,
    integer_attribute,
)


def identity(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """Copies, which values do not need."""
    return rewriter.tensor(op.operands[0])


def dropout(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.dropout(x, p, train) of an evaluated model."""
    if rewriter.constant(op.operands[2]):
        raise NotConvertibleError("dropout is a training operation")
    return rewriter.tensor(op.operands[0])


def reshape(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """Every torch operation that keeps the elements' row-major order."""
    return rewriter.reshape(
        rewriter.tensor(op.operands[0]), rewriter.builtin_type(op.results[0]).shape
    )


def expand(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.expand: a reshape where it adds no elements."""
    x, sizes = rewriter.tensor(op.operands[0]), rewriter.builtin_type(op.results[0]).shape
    return rewriter.broadcast(x, sizes)


def transpose(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.transpose.int(x, a, b)."""
    x = rewriter.tensor(op.operands[0])
    rank = len(shape(x))
    first, second = (axis_of(rewriter.constant(value), rank) for value in op.operands[1:3])
    order = list(range(rank))
    order[first], order[second] = second, first
    return rewriter.transpose(x, order)


def matrix_transpose(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.t(x)."""
    x = rewriter.tensor(op.operands[0])
    return rewriter.transpose(x, range(len(shape(x)) - 1, -1, -1))


def permute(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.permute(x, order)."""
    x = rewriter.tensor(op.operands[0])
    rank = len(shape(x))
    return rewriter.transpose(x, [axis_of(a, rank) for a in rewriter.constant(op.operands[1])])


def slice_tensor(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.slice.Tensor(x, axis, start?, end?, step)."""
    x = rewriter.tensor(op.operands[0])
    axis, start, _, step = (rewriter.constant(value) for value in op.operands[1:5])
    axis, size = axis_of(axis, len(shape(x))), shape(x)[axis]
    start = min(max(start + size if (start or 0) < 0 else (start or 0), 0), size)
    return _slice(rewriter, x, axis, start, step, rewriter.builtin_type(op.results[0]))


def select(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.select.int(x, axis, index)."""
    x = rewriter.tensor(op.operands[0])
    axis, index = (rewriter.constant(value) for value in op.operands[1:3])
    axis = axis_of(axis, len(shape(x)))
    sizes = list(shape(x))
    index, sizes[axis] = axis_of(index, sizes[axis]), 1
    kept = ir.RankedTensorType.get(sizes, x.type.element_type)
    picked = _slice(rewriter, x, axis, index, 1, kept)
    return rewriter.reshape(picked, rewriter.builtin_type(op.results[0]).shape)


def _slice(
    rewriter: Rewriter, x: ir.Value, axis: int, start: int, step: int, result: ir.RankedTensorType
) -> ir.Value:
    if tuple(result.shape) == shape(x):
        return x
    if element_count(result.shape) == 0:
        raise NotConvertibleError("an empty slice has no mfm form")
    offsets, strides = [0] * len(shape(x)), [1] * len(shape(x))
    offsets[axis], strides[axis] = start, step
    return SliceOp(
        x=x,
        offsets=ir.DenseI64ArrayAttr.get(offsets),
        strides=ir.DenseI64ArrayAttr.get(strides),
        result=result,
    ).result


def embedding(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.embedding(table, indices)."""
    table, indices = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    result = rewriter.builtin_type(op.results[0])
    if element(table) != "f32":
        return TakeOp(x=table, indices=indices, axis=integer_attribute(0), result=result).result
    return EmbeddingOp(indices=indices, table=table, result=result).result


def index_copy(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.index_copy(x, axis, indices, rows): a cache's update on axis 1."""
    cache = rewriter.tensor(op.operands[0])
    axis = axis_of(rewriter.constant(op.operands[1]), len(shape(cache)))
    position, rows = rewriter.tensor(op.operands[2]), rewriter.tensor(op.operands[3])
    position = rewriter.reshape(position, [element_count(shape(position))])
    if axis != 1 or shape(cache)[0] != 1:
        return ScatterRowsOp(
            x=cache, indices=position, rows=rows, axis=integer_attribute(axis), result=cache.type
        ).result
    return CacheUpdateOp(cache=cache, position=position, rows=rows, result=cache.type).result


def arange(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.arange: a weight."""
    result = rewriter.builtin_type(op.results[0])
    start, step = 0, 1
    if op.operation.name == "torch.aten.arange.start":
        start = rewriter.constant(op.operands[0])
    elif op.operation.name == "torch.aten.arange.start_step":
        start, step = rewriter.constant(op.operands[0]), rewriter.constant(op.operands[2])
    count = result.shape[0]
    values = (start + step * np.arange(count)).astype(DTYPES[str(result.element_type)])
    name = f"arange.{start}.{step}.{count}.{result.element_type}"
    return rewriter.parameter(name, values, result.element_type)


FROM_COMPLEX, TO_COMPLEX = "torch.aten.view_as_real", "torch.aten.view_as_complex"


def pair(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.view_as_real(view_as_complex(x)): how complex weights are read."""
    owner = op.operands[0].owner
    if isinstance(owner, ir.Block) or owner.name != TO_COMPLEX:
        raise NotConvertibleError("complex numbers have no mfm form")
    return rewriter.tensor(owner.operands[0])


CONVERTERS: dict[str, Converter] = {
    FROM_COMPLEX: pair,
    "torch.aten.clone": identity,
    "torch.aten.contiguous": identity,
    "torch.aten.detach": identity,
    "torch.aten.alias": identity,
    "torch.aten.dropout": dropout,
    "torch.aten.view": reshape,
    "torch.aten._unsafe_view": reshape,
    "torch.aten.reshape": reshape,
    "torch.aten.flatten.using_ints": reshape,
    "torch.aten.unsqueeze": reshape,
    "torch.aten.squeeze": reshape,
    "torch.aten.squeeze.dim": reshape,
    "torch.aten.squeeze.dims": reshape,
    "torch.aten.expand": expand,
    "torch.aten.transpose.int": transpose,
    "torch.aten.t": matrix_transpose,
    "torch.aten.permute": permute,
    "torch.aten.slice.Tensor": slice_tensor,
    "torch.aten.select.int": select,
    "torch.aten.embedding": embedding,
    "torch.aten.index_copy": index_copy,
    "torch.aten.arange": arange,
    "torch.aten.arange.start": arange,
    "torch.aten.arange.start_step": arange,
}
