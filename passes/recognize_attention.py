"""Attention written out --> `mfm.attention`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import (
    AddOp,
    AttentionOp,
    MatmulOp,
    MultiplyScalarOp,
    ReshapeOp,
    SelectOp,
    SoftmaxOp,
    TransposeOp,
)
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of
from girih.passes.matching import binary, defined_by, number, used_once, with_number

HEADS_LAST = (0, 2, 1, 3)
LOWEST = -1e4
"""A score that replaces hidden ones is this or less: what the exponential makes zero."""


@dataclass(frozen=True)
class _Scores:
    """``query @ key.T * scale``, then a mask: which keys are visible, or what is added."""

    product: MatmulOp
    scale: float
    mask: ir.Value | None


@dataclass(frozen=True)
class RecognizeAttention:
    """See attention in what models write for it, so that scores need never leave the chip.

    ```
    matmul(softmax(matmul(query, key, transposed) * scale + mask), value)
    -->
    attention(query, key, value, mask, scale)
    ```
    The heads are the last of the leading axes, or the only one. The mask may be added, or select
    scores (where it is false, a number of at most -10000 stands). Vaswani et al. 2017.
    """

    name: ClassVar[str] = "recognize-attention"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                if isinstance(op, MatmulOp) and not op.is_transposed:
                    _rewrite(op, compilation)
            erase_unused(function.entry_block)


def _rewrite(op: MatmulOp, compilation: Compilation) -> None:
    weights = defined_by(op.lhs, SoftmaxOp)
    if weights is None or not used_once(weights.result) or len(shape(op.lhs)) < 3:
        return
    scores = _scores(weights.x, compilation)
    if scores is None or not scores.product.is_transposed:
        return
    with ir.InsertionPoint(op), op.location:
        parts = (scores.product.lhs, scores.product.rhs, op.rhs)
        query, key, value = (_heads_last(part) for part in parts)
        sizes = [*shape(query)[:3], shape(value)[3]]
        kind = ir.IntegerType.get_signless(64)
        mixed = AttentionOp(
            query=query,
            key=key,
            value=value,
            mask=_four_axes(scores.mask),
            scale=ir.FloatAttr.get(ir.F64Type.get(), scores.scale),
            causal=ir.IntegerAttr.get(kind, 0),
            result=ir.RankedTensorType.get(sizes, query.type.element_type),
        )
        joined = _reshaped(_transposed(mixed.result), shape(op.result))
    op.result.replace_all_uses_with(joined)


def _scores(value: ir.Value, compilation: Compilation) -> _Scores | None:
    """Read the scores from the softmax's operand back to the product."""
    scale, mask = 1.0, None
    while used_once(value):
        product = defined_by(value, MatmulOp)
        if product is not None:
            return _Scores(product, scale, mask)
        if mask is None and (masked := _masked(value, compilation)) is not None:
            value, mask = masked
            continue
        scaled = _unscaled(value, compilation)
        # A mask behind a scale would be scaled too.
        if scaled is None:
            return None
        value, scale = scaled[0], scale * scaled[1]
        if _masked(value, compilation) is not None:
            return None
    return None


def _masked(value: ir.Value, compilation: Compilation) -> tuple[ir.Value, ir.Value] | None:
    """(scores, mask) where a mask is what makes the value."""
    added = defined_by(value, AddOp)
    if added is not None:
        if _leads_to_product(added.lhs, compilation) and shape(added.lhs) == shape(value):
            return added.lhs, added.rhs
        if _leads_to_product(added.rhs, compilation) and shape(added.rhs) == shape(value):
            return added.rhs, added.lhs
    chosen = defined_by(value, SelectOp)
    if chosen is not None and shape(chosen.lhs) == shape(value):
        hidden = number(chosen.rhs, compilation)
        if hidden is not None and hidden <= LOWEST:
            return chosen.lhs, chosen.condition
    return None


def _leads_to_product(value: ir.Value, compilation: Compilation) -> bool:
    while (scaled := _unscaled(value, compilation)) is not None:
        value = scaled[0]
    return defined_by(value, MatmulOp) is not None


def _unscaled(value: ir.Value, compilation: Compilation) -> tuple[ir.Value, float] | None:
    """(operand, factor) where a multiplication or division by a number makes the value."""
    scaled = defined_by(value, MultiplyScalarOp)
    if scaled is not None:
        return scaled.x, scaled.factor.value
    product = binary(value, "multiply")
    if product is not None:
        return with_number(product, compilation)
    quotient = binary(value, "divide")
    divisor = None if quotient is None else number(quotient.rhs, compilation)
    if quotient is None or not divisor or shape(quotient.lhs) != shape(value):
        return None
    return quotient.lhs, float(np.float32(1) / np.float32(divisor))


def _heads_last(x: ir.Value) -> ir.Value:
    """(..., heads, length, depth) as (batch, length, heads, depth)."""
    *batch, heads, length, depth = shape(x)
    return _transposed(_reshaped(x, [math.prod(batch), heads, length, depth]))


def _four_axes(mask: ir.Value | None) -> ir.Value | None:
    """The mask with the axes before the heads made one; all of them are there, or at most one."""
    if mask is None or len(shape(mask)) <= 4:
        return mask
    *batch, heads, queries, keys = shape(mask)
    return _reshaped(mask, [math.prod(batch), heads, queries, keys])


def _transposed(x: ir.Value) -> ir.Value:
    sizes = [shape(x)[axis] for axis in HEADS_LAST]
    order = ir.DenseI64ArrayAttr.get(list(HEADS_LAST))
    result = ir.RankedTensorType.get(sizes, x.type.element_type)
    return TransposeOp(x=x, permutation=order, result=result).result


def _reshaped(x: ir.Value, sizes: list[int] | tuple[int, ...]) -> ir.Value:
    if shape(x) == tuple(sizes):
        return x
    result = ir.RankedTensorType.get(list(sizes), x.type.element_type)
    return ReshapeOp(x=x, result=result).result
