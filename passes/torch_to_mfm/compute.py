"""Linear, normalization, activation, attention."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import AttentionOp, GeluOp, LayerNormOp, LinearOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    float_attribute,
    integer_attribute,
)


def linear(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.linear(x, weight, bias?)."""
    x, weight = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[1])
    rewriter.require_float32(x, weight)
    bias = None if rewriter.is_none(op.operands[2]) else rewriter.tensor(op.operands[2])
    result = rewriter.builtin_type(op.results[0])
    return LinearOp(x=x, weight=weight, bias=bias, result=result).result


def layer_norm(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.layer_norm(x, normalized_shape, weight?, bias?, epsilon)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    width = shape(x)[-1]
    if rewriter.constant(op.operands[1]) != [width]:
        raise NotConvertibleError("only the last axis can be normalized")
    scales: list[ir.Value] = []
    for operand, name, value in ((op.operands[2], "ones", 1.0), (op.operands[3], "zeros", 0.0)):
        if rewriter.is_none(operand):
            fill = np.full(width, value, np.float32)
            scales.append(rewriter.parameter(f"{name}.{width}", fill, x.type.element_type))
        else:
            scales.append(rewriter.tensor(operand))
    return LayerNormOp(
        x=x,
        gamma=scales[0],
        beta=scales[1],
        epsilon=float_attribute(rewriter.constant(op.operands[4])),
        result=x.type,
    ).result


def gelu(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.gelu(x, approximate)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    form = ir.StringAttr.get(rewriter.constant(op.operands[1]))
    return GeluOp(x=x, approximate=form, result=x.type).result


def attention(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.scaled_dot_product_attention on (batch, heads, length, depth)."""
    query, key, value = (rewriter.tensor(operand) for operand in op.operands[:3])
    rewriter.require_float32(query, key, value)
    if len(shape(query)) != 4 or shape(query)[1] != shape(key)[1]:
        raise NotConvertibleError("only 4-D attention with equal head counts has an mfm form")
    if rewriter.constant(op.operands[4]) != 0.0:
        raise NotConvertibleError("dropout is a training operation")
    mask = None
    if not rewriter.is_none(op.operands[3]):
        mask = rewriter.tensor(op.operands[3])
        if str(mask.type.element_type) != "i1":
            raise NotConvertibleError("only boolean attention masks have an mfm form")
    scale = rewriter.constant(op.operands[6])
    heads_last = (0, 2, 1, 3)
    query, key, value = (rewriter.transpose(part, heads_last) for part in (query, key, value))
    sizes = [*shape(query)[:3], shape(value)[3]]
    result = AttentionOp(
        query=query,
        key=key,
        value=value,
        mask=mask,
        scale=float_attribute(shape(query)[3] ** -0.5 if scale is None else scale),
        causal=integer_attribute(int(rewriter.constant(op.operands[5]))),
        result=ir.RankedTensorType.get(sizes, query.type.element_type),
    ).result
    return rewriter.transpose(result, heads_last)


CONVERTERS: dict[str, Converter] = {
    "torch.aten.linear": linear,
    "torch.aten.layer_norm": layer_norm,
    "torch.aten.gelu": gelu,
    "torch.aten.scaled_dot_product_attention": attention,
}
