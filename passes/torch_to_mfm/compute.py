"""Linear, normalization, activation."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import GeluOp, LayerNormOp, LinearOp, RmsNormOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    float_attribute,
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


def rms_norm(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.rms_norm(x, normalized_shape, weight?, epsilon?), epsilon that of float32 if absent."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    width = shape(x)[-1]
    if rewriter.constant(op.operands[1]) != [width]:
        raise NotConvertibleError("only the last axis can be normalized")
    if rewriter.is_none(op.operands[2]):
        ones = np.ones(width, np.float32)
        gamma = rewriter.parameter(f"ones.{width}", ones, x.type.element_type)
    else:
        gamma = rewriter.tensor(op.operands[2])
    epsilon = rewriter.constant(op.operands[3])
    epsilon = float(np.finfo(np.float32).eps) if epsilon is None else epsilon
    return RmsNormOp(x=x, gamma=gamma, epsilon=float_attribute(epsilon), result=x.type).result


def gelu(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.gelu(x, approximate)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    form = ir.StringAttr.get(rewriter.constant(op.operands[1]))
    return GeluOp(x=x, approximate=form, result=x.type).result


CONVERTERS: dict[str, Converter] = {
    "torch.aten.linear": linear,
    "torch.aten.layer_norm": layer_norm,
    "torch.aten.gelu": gelu,
    "torch.aten.rms_norm": rms_norm,
}
