"""Normalizations over groups of channels and over batches, of evaluated models."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import AddOp, BinaryOp, Conv1dOp, LayerNormOp, LinearOp, TransposeOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.constants import known
from girih.passes.torch_to_mfm.rewriter import (
    FROM_BUILTIN,
    Converter,
    NotConvertibleError,
    Rewriter,
    element_count,
    float_attribute,
)


def group_norm(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.group_norm(x (B, C, *sizes), groups, weight?, bias?, epsilon): rows of groups."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    groups, epsilon = rewriter.constant(op.operands[1]), rewriter.constant(op.operands[4])
    value = _normalized(rewriter, x, groups, epsilon)
    return _scaled(rewriter, value, _optional(rewriter, op.operands[2:4]))


def instance_norm(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten._native_batch_norm_legit.no_stats(x (B, C, *sizes), weight?, bias?, True, _, epsilon).

    With a batch of one, where torch folds several into channels, every channel is a row.
    """
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    if shape(x)[0] != 1:
        raise NotConvertibleError("statistics over a batch belong to training")
    value = _normalized(rewriter, x, shape(x)[1], rewriter.constant(op.operands[5]))
    return _scaled(rewriter, value, _optional(rewriter, op.operands[1:3]))


def batch_norm(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten._native_batch_norm_legit_no_training(x, weight?, bias?, mean, variance, _, epsilon).

    A factor and a shift per channel; part of the weights of the product before, if there is one.
    """
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    mean, variance = (known(rewriter, rewriter.tensor(value)) for value in op.operands[3:5])
    epsilon = rewriter.constant(op.operands[6])
    factor = 1 / np.sqrt(rewriter.array(variance).astype(np.float64) + epsilon)
    weight, bias = _optional(rewriter, op.operands[1:3])
    if weight is not None:
        factor = factor * rewriter.array(known(rewriter, weight))
    shift = -factor * rewriter.array(mean)
    if bias is not None:
        shift = shift + rewriter.array(known(rewriter, bias))
    # The statistics' name tells one normalization from all others that read the same product.
    label = mean.owner.opview.parameter.value
    factors = rewriter.parameter(f"{label}.factor", factor.astype(np.float32), _element(x))
    shifts = rewriter.parameter(f"{label}.shift", shift.astype(np.float32), _element(x))
    folded = _folded(rewriter, x, factors, shifts)
    return _scaled(rewriter, x, [factors, shifts]) if folded is None else folded


def _element(x: ir.Value) -> ir.Type:
    return x.type.element_type


def _optional(rewriter: Rewriter, values: list[ir.Value]) -> list[ir.Value | None]:
    return [None if rewriter.is_none(value) else rewriter.tensor(value) for value in values]


def _normalized(rewriter: Rewriter, x: ir.Value, groups: int, epsilon: float) -> ir.Value:
    """Zero mean and unit variance over each group of channels: a layer norm of its elements."""
    sizes = shape(x)
    width = element_count(sizes[1:]) // groups
    rows = rewriter.reshape(x, [sizes[0], groups, width])
    ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
    normal = LayerNormOp(
        x=rows,
        gamma=rewriter.parameter(f"ones.{width}", ones, _element(x)),
        beta=rewriter.parameter(f"zeros.{width}", zeros, _element(x)),
        epsilon=float_attribute(epsilon),
        result=rows.type,
    ).result
    return rewriter.reshape(normal, sizes)


def _scaled(rewriter: Rewriter, x: ir.Value, scales: list[ir.Value | None]) -> ir.Value:
    """``x * factor + shift`` per channel; channels last, as products leave them and rows are."""
    factor, shift = scales
    if factor is None and shift is None:
        return x
    rank = len(shape(x))
    value = rewriter.transpose(x, (0, *range(2, rank), 1))
    if factor is not None:
        function = ir.StringAttr.get("multiply")
        value = BinaryOp(lhs=value, rhs=factor, function=function, result=value.type).result
    if shift is not None:
        value = AddOp(lhs=value, rhs=shift, result=value.type).result
    return rewriter.transpose(value, (0, rank - 1, *range(1, rank - 1)))


def _folded(
    rewriter: Rewriter, x: ir.Value, factors: ir.Value, shifts: ir.Value
) -> ir.Value | None:
    """The product that x is, with the factor and the shift in its weights.

    None where x is no product over the channels, or is read by others too.
    """
    transpose = _made_by(x, (TransposeOp,))
    axis = 1 if transpose is None else list(transpose.permutation)[1]
    product = _made_by(x if transpose is None else transpose.x, (LinearOp, Conv1dOp))
    if product is None or axis != len(shape(x)) - 1:
        return None
    factor, shift = rewriter.array(factors), rewriter.array(shifts)
    label = factors.owner.opview.parameter.value
    try:
        weight = rewriter.array(product.weight) * factor[:, None]
        bias = 0.0 if product.bias is None else rewriter.array(product.bias)
    except NotConvertibleError:
        return None
    attributes = product.operation.attributes
    names = [name for name in attributes if name != "operandSegmentSizes"]
    moved: ir.Value = type(product)(
        x=product.x,
        weight=rewriter.derived(product.weight, f"times.{label}", weight),
        bias=rewriter.parameter(f"{label}.bias", bias * factor + shift, _element(x)),
        result=product.result.type,
        **{name: attributes[name] for name in names},
    ).result
    return moved if transpose is None else rewriter.transpose(moved, transpose.permutation)


def _made_by(value: ir.Value, kinds: tuple[type[ir.OpView], ...]) -> Any:
    """The operation of such a kind that makes a value for one reader alone, or None."""
    owner = value.owner
    if isinstance(owner, ir.Block) or not isinstance(owner.opview, kinds):
        return None
    return owner.opview if _readers(value) == 1 else None


def _readers(value: ir.Value) -> int:
    """How many operations read a value, those that are not yet converted included."""
    users = [use.owner.operation for use in value.uses]
    return sum(_readers(user.results[0]) if user.name == FROM_BUILTIN else 1 for user in users)


CONVERTERS: dict[str, Converter] = {
    "torch.aten.group_norm": group_norm,
    "torch.aten._native_batch_norm_legit.no_stats": instance_norm,
    "torch.aten._native_batch_norm_legit_no_training": batch_norm,
}
