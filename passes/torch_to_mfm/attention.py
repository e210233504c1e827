"""Scaled dot-product attention: torch keeps the heads before the length, mfm after it."""

from __future__ import annotations

import math

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import AttentionOp
from girih.dialects.mfm.base import element, shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    float_attribute,
    integer_attribute,
)

HEADS_LAST = (0, 2, 1, 3)


def attention(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.scaled_dot_product_attention(query, key, value, mask?, dropout, causal, scale?, gqa)."""
    if rewriter.constant(op.operands[4]) != 0.0:
        raise NotConvertibleError("dropout is a training operation")
    operands = [rewriter.tensor(operand) for operand in op.operands[:3]]
    rewriter.require_float32(*operands)
    query, key, value = (four_axes(rewriter, operand) for operand in operands)
    (batch, heads, queries, depth), keys = shape(query), shape(key)[2]
    if shape(key)[0] != batch or shape(value)[0] != batch:
        raise NotConvertibleError("keys that broadcast over the batch have no mfm form")
    causal = bool(rewriter.constant(op.operands[5]))
    mask = None
    if not rewriter.is_none(op.operands[3]):
        mask = _mask(rewriter, rewriter.tensor(op.operands[3]), shape(operands[0]))
    elif causal and queries != keys:
        # torch aligns the diagonal at the first key, mfm at the last.
        visible = np.tri(queries, keys, dtype=np.bool_)
        kind = ir.IntegerType.get_signless(1)
        mask, causal = rewriter.parameter(f"causal.{queries}x{keys}", visible, kind), False
    scale = rewriter.constant(op.operands[6])
    query, key, value = (rewriter.transpose(part, HEADS_LAST) for part in (query, key, value))
    sizes = [batch, queries, heads, shape(value)[3]]
    result = AttentionOp(
        query=query,
        key=key,
        value=value,
        mask=mask,
        scale=float_attribute(depth**-0.5 if scale is None else scale),
        causal=integer_attribute(int(causal)),
        result=ir.RankedTensorType.get(sizes, query.type.element_type),
    ).result
    joined = rewriter.transpose(result, HEADS_LAST)
    return rewriter.reshape(joined, rewriter.builtin_type(op.results[0]).shape)


def four_axes(rewriter: Rewriter, x: ir.Value) -> ir.Value:
    """(..., heads, length, depth) with the axes before the heads made one."""
    sizes = shape(x)
    lead = sizes[:-3]
    heads = sizes[-3] if len(sizes) > 2 else 1
    return rewriter.reshape(x, [math.prod(lead), heads, *sizes[-2:]])


def _mask(rewriter: Rewriter, mask: ir.Value, query: tuple[int, ...]) -> ir.Value:
    """The mask over (batch, heads, queries, keys) or fewer axes."""
    if element(mask) not in ("i1", "f32"):
        raise NotConvertibleError(f"a mask of {element(mask)} has no mfm form")
    if len(shape(mask)) <= 3 or len(query) == 4:
        return mask
    return four_axes(rewriter, rewriter.broadcast(mask, [*query[:-3], *shape(mask)[-3:]]))


CONVERTERS: dict[str, Converter] = {"torch.aten.scaled_dot_product_attention": attention}
