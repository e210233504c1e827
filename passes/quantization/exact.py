"""Float results with the same bits everywhere: sums are taken of integers, which have no order."""

from __future__ import annotations

import math

from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.passes.quantization.function import ExactRule, FunctionQuantizer
from girih.passes.torch_to_mfm.rewriter import float_attribute

_WEIGHT_UNITS = 32767
"""Units of a softmax's largest weight."""


def _sum(quantizer: FunctionQuantizer, op: mfm.ReduceOp) -> ir.Value | None:
    """reduce_sum(x) --> float(reduce_sum(integers of x)) * scale."""
    if op.function.value != "sum" or op.x not in quantizer.integers:
        return None
    number, group = quantizer.either(op.x)
    total = _total(number, list(op.axes))
    return mfm.MultiplyScalarOp(
        x=_converted(total, ir.F32Type.get()),
        factor=float_attribute(group.scale),
        result=op.result.type,
    ).result


def _softmax(quantizer: FunctionQuantizer, op: mfm.SoftmaxOp) -> ir.Value:
    """Weights of 15 bits, their sum as an integer, the quotient in float."""
    x = quantizer.real(op.x)
    sizes, last = shape(x), len(shape(x)) - 1
    axes = ir.DenseI64ArrayAttr.get([last])
    row = ir.RankedTensorType.get(list(sizes[:-1]), x.type.element_type)
    name = ir.StringAttr.get("maximum")
    top = _column(mfm.ReduceOp(x=x, function=name, axes=axes, result=row).result)
    name = ir.StringAttr.get("subtract")
    distance = mfm.BinaryOp(lhs=x, rhs=top, function=name, result=x.type).result
    weights = mfm.UnaryOp(x=distance, function=ir.StringAttr.get("exp"), result=x.type).result
    units = mfm.QuantizeOp(
        x=weights,
        inverse_scale=float_attribute(_WEIGHT_UNITS),
        result=ir.RankedTensorType.get(list(sizes), ir.IntegerType.get_signless(16)),
    ).result
    total = _column(_converted(_total(units, [last]), x.type.element_type))
    share = _converted(units, x.type.element_type)
    name = ir.StringAttr.get("divide")
    return mfm.BinaryOp(lhs=share, rhs=total, function=name, result=x.type).result


def _total(number: ir.Value, axes: list[int]) -> ir.Value:
    """Sum over axes of int8 or int16 elements, in int32 or, of very many, int64."""
    sizes = shape(number)
    bits = 32 if math.prod(sizes[axis] for axis in axes) <= 1 << 16 else 64
    wide = _converted(number, ir.IntegerType.get_signless(bits))
    kept = [size for axis, size in enumerate(sizes) if axis not in axes]
    return mfm.ReduceOp(
        x=wide,
        function=ir.StringAttr.get("sum"),
        axes=ir.DenseI64ArrayAttr.get(axes),
        result=ir.RankedTensorType.get(kept, wide.type.element_type),
    ).result


def _converted(x: ir.Value, kind: ir.Type) -> ir.Value:
    return mfm.ConvertOp(x=x, result=ir.RankedTensorType.get(list(shape(x)), kind)).result


def _column(x: ir.Value) -> ir.Value:
    kind = ir.RankedTensorType.get([*shape(x), 1], x.type.element_type)
    return mfm.ReshapeOp(x=x, result=kind).result


RULES: dict[type, ExactRule] = {mfm.ReduceOp: _sum, mfm.SoftmaxOp: _softmax}
