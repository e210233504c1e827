"""Elementwise arithmetic and comparison."""

from __future__ import annotations

from torch_mlir import ir

from girih.dialects.mfm import AddOp, CompareOp, MultiplyScalarOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    element_count,
    float_attribute,
)


def add(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.add.Tensor(lhs, rhs, alpha = 1)."""
    if rewriter.constant(op.operands[2]) != 1:
        raise NotConvertibleError("addition with a factor has no mfm form")
    result = rewriter.builtin_type(op.results[0])
    operands = [rewriter.tensor(operand) for operand in op.operands[:2]]
    rewriter.require_float32(*operands)
    # A broadcast that only adds unit axes is a reshape: the accelerator then sees equal shapes.
    lhs, rhs = (
        rewriter.reshape(value, result.shape)
        if element_count(shape(value)) == element_count(result.shape)
        else value
        for value in operands
    )
    return AddOp(lhs=lhs, rhs=rhs, result=result).result


def multiply_scalar(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.mul.Scalar(x, factor)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    factor = float_attribute(rewriter.constant(op.operands[1]))
    return MultiplyScalarOp(x=x, factor=factor, result=x.type).result


def _compare(predicate: str) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        lhs, rhs = (rewriter.tensor(operand) for operand in op.operands[:2])
        if lhs.type.element_type != rhs.type.element_type:
            raise NotConvertibleError("a comparison of two element types has no mfm form")
        result = rewriter.builtin_type(op.results[0])
        return CompareOp(
            lhs=lhs, rhs=rhs, predicate=ir.StringAttr.get(predicate), result=result
        ).result

    return convert


CONVERTERS: dict[str, Converter] = {
    "torch.aten.add.Tensor": add,
    "torch.aten.mul.Scalar": multiply_scalar,
    **{
        f"torch.aten.{name}.Tensor": _compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
    },
}
