"""Reductions over axes, running sums, positions of maxima."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import ArgmaxOp, BinaryOp, CumulativeSumOp, ReduceOp, UnaryOp
from girih.dialects.mfm.base import element, shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    axis_of,
    integer_attribute,
)


def _axes(rewriter: Rewriter, value: ir.Value, rank: int) -> list[int]:
    found = rewriter.constant(value)
    if found is None or found == []:
        return list(range(rank))
    return sorted(axis_of(axis, rank) for axis in (found if isinstance(found, list) else [found]))


def reduced(rewriter: Rewriter, x: ir.Value, function: str, axes: list[int]) -> ir.Value:
    """One reduction; the axes disappear."""
    if not axes or not shape(x):
        return x
    kept = [size for axis, size in enumerate(shape(x)) if axis not in axes]
    return ReduceOp(
        x=x,
        function=ir.StringAttr.get(function),
        axes=ir.DenseI64ArrayAttr.get(axes),
        result=ir.RankedTensorType.get(kept, x.type.element_type),
    ).result


def _over_axes(function: str, *, mean: bool = False) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        result = rewriter.builtin_type(op.results[0])
        x = rewriter.converted(rewriter.tensor(op.operands[0]), result.element_type)
        rank = len(shape(x))
        has_axes = len(op.operands) > 2 or "dim" in op.operation.name
        axes = _axes(rewriter, op.operands[1], rank) if has_axes else list(range(rank))
        value = reduced(rewriter, x, function, axes)
        if mean:
            count = int(np.prod([shape(x)[axis] for axis in axes], dtype=np.int64))
            value = _divided(rewriter, value, count)
        return rewriter.reshape(value, result.shape)

    return convert


def _divided(rewriter: Rewriter, value: ir.Value, count: int) -> ir.Value:
    divisor = rewriter.scalar(count, value.type.element_type)
    return BinaryOp(
        lhs=value, rhs=divisor, function=ir.StringAttr.get("divide"), result=value.type
    ).result


def _extreme(function: str) -> Converter:
    """aten.amax(x, axes, keep), aten.max(x)."""
    return _over_axes(function)


def _flags(function: str) -> Converter:
    """aten.any and aten.all of anything: what is not zero is true."""
    return _over_axes(function)


def variance(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.var.correction(x, axes, correction, keep)."""
    result = rewriter.builtin_type(op.results[0])
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    axes = _axes(rewriter, op.operands[1], len(shape(x)))
    correction = rewriter.constant(op.operands[2])
    count = int(np.prod([shape(x)[axis] for axis in axes], dtype=np.int64))
    unit = [1 if axis in axes else size for axis, size in enumerate(shape(x))]
    mean = rewriter.reshape(_divided(rewriter, reduced(rewriter, x, "sum", axes), count), unit)
    subtract, multiply = ir.StringAttr.get("subtract"), ir.StringAttr.get("multiply")
    centered = BinaryOp(lhs=x, rhs=mean, function=subtract, result=x.type).result
    squares = BinaryOp(lhs=centered, rhs=centered, function=multiply, result=x.type).result
    spread = count - (1 if correction is None else correction)
    value = _divided(rewriter, reduced(rewriter, squares, "sum", axes), spread)
    return rewriter.reshape(value, result.shape)


def cumulative_sum(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.cumsum(x, axis, dtype?)."""
    result = rewriter.builtin_type(op.results[0])
    x = rewriter.converted(rewriter.tensor(op.operands[0]), result.element_type)
    axis = axis_of(rewriter.constant(op.operands[1]), len(shape(x)))
    return CumulativeSumOp(x=x, axis=integer_attribute(axis), result=result).result


def argmax(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.argmax(x, axis?, keep)."""
    x = rewriter.tensor(op.operands[0])
    if element(x) == "i1":
        x = rewriter.converted(x, ir.IntegerType.get_signless(32))
    axis = rewriter.constant(op.operands[1])
    if axis is None:
        x, axis = rewriter.reshape(x, [int(np.prod(shape(x), dtype=np.int64))]), 0
    axis = axis_of(axis, len(shape(x)))
    kept = [size for each, size in enumerate(shape(x)) if each != axis]
    kind = ir.RankedTensorType.get(kept, ir.IntegerType.get_signless(64))
    value = ArgmaxOp(x=x, axis=integer_attribute(axis), result=kind).result
    return rewriter.reshape(value, rewriter.builtin_type(op.results[0]).shape)


def vector_norm(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.linalg_vector_norm(x, order, axes?, keep, dtype?) of order 2: by its squares' sum."""
    if rewriter.constant(op.operands[1]) != 2:
        raise NotConvertibleError("only the norm of order 2 has an mfm form")
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    multiply = ir.StringAttr.get("multiply")
    squares = BinaryOp(lhs=x, rhs=x, function=multiply, result=x.type).result
    axes = _axes(rewriter, op.operands[2], len(shape(x)))
    total = reduced(rewriter, squares, "sum", axes)
    # A square root is rounded correctly everywhere; a power is not.
    root = UnaryOp(x=total, function=ir.StringAttr.get("sqrt"), result=total.type).result
    return rewriter.reshape(root, rewriter.builtin_type(op.results[0]).shape)


CONVERTERS: dict[str, Converter] = {
    "torch.aten.sum": _over_axes("sum"),
    "torch.aten.sum.dim_IntList": _over_axes("sum"),
    "torch.aten.mean": _over_axes("sum", mean=True),
    "torch.aten.mean.dim": _over_axes("sum", mean=True),
    "torch.aten.prod": _over_axes("product"),
    "torch.aten.amax": _extreme("maximum"),
    "torch.aten.amin": _extreme("minimum"),
    "torch.aten.max": _extreme("maximum"),
    "torch.aten.min": _extreme("minimum"),
    "torch.aten.any": _flags("any"),
    "torch.aten.any.dim": _flags("any"),
    "torch.aten.any.dims": _flags("any"),
    "torch.aten.all": _flags("all"),
    "torch.aten.all.dim": _flags("all"),
    "torch.aten.var.correction": variance,
    "torch.aten.cumsum": cumulative_sum,
    "torch.aten.argmax": argmax,
    "torch.aten.linalg_vector_norm": vector_norm,
}
