"""Matrix products and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import (
    AddOp,
    LinearOp,
    MatmulOp,
    MultiplyScalarOp,
    ParameterOp,
    SoftmaxOp,
    TransposeOp,
)
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    axis_of,
    element_count,
    float_attribute,
    integer_attribute,
)


def matmul(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.matmul(lhs, rhs), aten.mm, aten.bmm."""
    lhs, rhs = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    product = _product(rewriter, lhs, rhs)
    return rewriter.reshape(product, rewriter.builtin_type(op.results[0]).shape)


def added_matmul(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.addmm(x, lhs, rhs, beta, alpha), aten.baddbmm: beta x + alpha lhs rhs."""
    x, lhs, rhs = (rewriter.tensor(operand) for operand in op.operands[:3])
    beta, alpha = (rewriter.constant(operand) for operand in op.operands[3:5])
    product = _scaled(_product(rewriter, lhs, rhs), alpha)
    if beta == 0:
        return product
    return AddOp(lhs=product, rhs=_scaled(x, beta), result=product.type).result


def softmax(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten._softmax(x, axis, half), aten.softmax.int(x, axis, dtype)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    axis, rank = rewriter.constant(op.operands[1]), len(shape(x))
    if rank == 0:
        raise NotConvertibleError("a softmax of a number has no mfm form")
    axis = axis_of(axis, rank)
    order = [*(each for each in range(rank) if each != axis), axis]
    moved = rewriter.transpose(x, order)
    result = SoftmaxOp(x=moved, result=moved.type).result
    return rewriter.transpose(result, [order.index(each) for each in range(rank)])


def _scaled(x: ir.Value, factor: float) -> ir.Value:
    if factor == 1:
        return x
    return MultiplyScalarOp(x=x, factor=float_attribute(factor), result=x.type).result


def _product(rewriter: Rewriter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    """(..., M, N); a vector counts as one row or one column."""
    rewriter.require_float32(lhs, rhs)
    if len(shape(lhs)) == 1:
        lhs = rewriter.reshape(lhs, [1, *shape(lhs)])
    if len(shape(rhs)) == 1:
        rhs = rewriter.reshape(rhs, [*shape(rhs), 1])
    weight = _weight(rewriter, rhs)
    if weight is not None:
        return _linear(lhs, weight)
    rhs, transposed = _untransposed(rhs)
    batch = np.broadcast_shapes(shape(lhs)[:-2], shape(rhs)[:-2])
    rows, columns = shape(lhs)[-2], shape(rhs)[-2 if transposed else -1]
    if element_count(shape(rhs)[:-2]) == 1:
        # One right side for all: the batches are rows.
        count = element_count(shape(lhs)[:-1])
        lhs = rewriter.reshape(lhs, [count, shape(lhs)[-1]])
        rhs = rewriter.reshape(rhs, shape(rhs)[-2:])
        sizes = [count, columns]
    else:
        lhs = rewriter.broadcast(lhs, [*batch, *shape(lhs)[-2:]])
        rhs = rewriter.broadcast(rhs, [*batch, *shape(rhs)[-2:]])
        sizes = [*batch, rows, columns]
    product = MatmulOp(
        lhs=lhs,
        rhs=rhs,
        transposed=integer_attribute(int(transposed)),
        result=ir.RankedTensorType.get(sizes, lhs.type.element_type),
    ).result
    return rewriter.reshape(product, [*batch, rows, columns])


def _linear(x: ir.Value, weight: ir.Value) -> ir.Value:
    sizes = [*shape(x)[:-1], shape(weight)[0]]
    result = ir.RankedTensorType.get(sizes, x.type.element_type)
    return LinearOp(x=x, weight=weight, bias=None, result=result).result


def _weight(rewriter: Rewriter, rhs: ir.Value) -> ir.Value | None:
    """The weight (N, K) of a linear where rhs (K, N) is constant, else None."""
    if len(shape(rhs)) != 2:
        return None
    source, transposed = _untransposed(rhs)
    if isinstance(source.owner, ir.Block) or not isinstance(source.owner.opview, ParameterOp):
        return None
    if transposed:
        return source
    array: Any = np.ascontiguousarray(rewriter.array(source).T)
    return rewriter.derived(source, "transposed", array)


def _untransposed(rhs: ir.Value) -> tuple[ir.Value, bool]:
    """The value whose last two axes, exchanged, are rhs; or rhs."""
    owner = rhs.owner
    if isinstance(owner, ir.Block) or not isinstance(owner.opview, TransposeOp):
        return rhs, False
    rank = len(shape(rhs))
    exchanged = [*range(rank - 2), rank - 1, rank - 2]
    if list(owner.opview.permutation) != exchanged:
        return rhs, False
    return owner.opview.x, True


CONVERTERS: dict[str, Converter] = {
    "torch.aten._softmax": softmax,
    "torch.aten.addmm": added_matmul,
    "torch.aten.baddbmm": added_matmul,
    "torch.aten.bmm": matmul,
    "torch.aten.matmul": matmul,
    "torch.aten.mm": matmul,
    "torch.aten.softmax.int": softmax,
}
