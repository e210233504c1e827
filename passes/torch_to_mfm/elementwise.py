"""Elementwise arithmetic, comparison, choice and conversion."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import AddOp, BinaryOp, CompareOp, MultiplyScalarOp, SelectOp
from girih.dialects.mfm.base import element, shape
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    element_count,
    float_attribute,
)

_ORDER = ("i1", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64")
"""Element types, each of which holds what those before it mean (torch's type promotion)."""


def _operand(rewriter: Rewriter, value: ir.Value, kind: ir.Type) -> ir.Value:
    """A tensor, or a number as a tensor of no axes, as an element type."""
    if str(value.type).startswith("!torch.vtensor"):
        return rewriter.converted(rewriter.tensor(value), kind)
    return rewriter.scalar(rewriter.constant(value), kind)


def _pair(rewriter: Rewriter, op: ir.OpView) -> tuple[ir.Value, ir.Value, ir.RankedTensorType]:
    result = rewriter.builtin_type(op.results[0])
    kind = result.element_type
    lhs, rhs = (_operand(rewriter, operand, kind) for operand in list(op.operands)[:2])
    return lhs, rhs, result


def _as_result(rewriter: Rewriter, value: ir.Value, result: ir.RankedTensorType) -> ir.Value:
    """A broadcast that only adds unit axes is a reshape: the accelerator then sees equal shapes."""
    if element_count(shape(value)) == element_count(result.shape):
        return rewriter.reshape(value, result.shape)
    return value


def add(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.add(lhs, rhs, alpha)."""
    lhs, rhs, result = _pair(rewriter, op)
    rhs = _scaled(rewriter, rhs, rewriter.constant(op.operands[2]))
    if str(result.element_type) == "i1":
        return _binary_op("or", lhs, rhs, result)
    lhs, rhs = (_as_result(rewriter, value, result) for value in (lhs, rhs))
    return AddOp(lhs=lhs, rhs=rhs, result=result).result


def subtract(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.sub(lhs, rhs, alpha)."""
    lhs, rhs, result = _pair(rewriter, op)
    rhs = _scaled(rewriter, rhs, rewriter.constant(op.operands[2]))
    return _binary_op("subtract", lhs, rhs, result)


def subtract_from(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.rsub(lhs, rhs, alpha): rhs - lhs alpha."""
    lhs, rhs, result = _pair(rewriter, op)
    lhs = _scaled(rewriter, lhs, rewriter.constant(op.operands[2]))
    return _binary_op("subtract", rhs, lhs, result)


def _scaled(rewriter: Rewriter, value: ir.Value, factor: float) -> ir.Value:
    if factor == 1:
        return value
    by = rewriter.scalar(factor, value.type.element_type)
    return BinaryOp(
        lhs=value, rhs=by, function=ir.StringAttr.get("multiply"), result=value.type
    ).result


def _binary_op(
    function: str, lhs: ir.Value, rhs: ir.Value, result: ir.RankedTensorType
) -> ir.Value:
    return BinaryOp(lhs=lhs, rhs=rhs, function=ir.StringAttr.get(function), result=result).result


def _binary(function: str) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        lhs, rhs, result = _pair(rewriter, op)
        if str(result.element_type) == "i1" and function == "multiply":
            return _binary_op("and", lhs, rhs, result)
        lhs, rhs = (_as_result(rewriter, value, result) for value in (lhs, rhs))
        return _binary_op(function, lhs, rhs, result)

    return convert


def multiply_scalar(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.mul.Scalar(x, factor)."""
    x = rewriter.tensor(op.operands[0])
    result = rewriter.builtin_type(op.results[0])
    if element(x) != "f32" or result.element_type != x.type.element_type:
        return _binary("multiply")(rewriter, op)
    factor = float_attribute(rewriter.constant(op.operands[1]))
    return MultiplyScalarOp(x=x, factor=factor, result=x.type).result


def divide_mode(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.div(lhs, rhs, rounding_mode)."""
    mode = rewriter.constant(op.operands[2])
    lhs, rhs, result = _pair(rewriter, op)
    if mode is None or (mode == "trunc" and str(result.element_type).startswith("i")):
        return _binary_op("divide", lhs, rhs, result)
    if mode == "floor":
        return _binary_op("floor_divide", lhs, rhs, result)
    raise NotConvertibleError(f"float division with rounding mode {mode!r} has no mfm form")


def remainder(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.remainder: lhs - floor(lhs / rhs) rhs, on integers."""
    lhs, rhs, result = _pair(rewriter, op)
    if not str(result.element_type).startswith("i"):
        raise NotConvertibleError("the remainder of floats has no mfm form")
    whole = _binary_op("floor_divide", lhs, rhs, result)
    return _binary_op("subtract", lhs, _binary_op("multiply", whole, rhs, result), result)


def _logical(function: str) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        result = rewriter.builtin_type(op.results[0])
        flags = [
            rewriter.converted(rewriter.tensor(operand), result.element_type)
            for operand in list(op.operands)[:2]
        ]
        return _binary_op(function, flags[0], flags[1], result)

    return convert


def _compare(predicate: str) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        lhs = rewriter.tensor(op.operands[0])
        kinds = [lhs.type.element_type]
        other = op.operands[1]
        if str(other.type).startswith("!torch.vtensor"):
            kinds.append(rewriter.tensor(other).type.element_type)
        elif isinstance(rewriter.constant(other), float) and element(lhs).startswith("i"):
            kinds.append(ir.F32Type.get())
        elif element(lhs) == "i1" and not isinstance(rewriter.constant(other), bool):
            kinds.append(ir.IntegerType.get_signless(64))
        kind = max(kinds, key=lambda each: _ORDER.index(str(each)))
        return CompareOp(
            lhs=rewriter.converted(lhs, kind),
            rhs=_operand(rewriter, other, kind),
            predicate=ir.StringAttr.get(predicate),
            result=rewriter.builtin_type(op.results[0]),
        ).result

    return convert


def where(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.where(condition, lhs, rhs), tensors or numbers."""
    result = rewriter.builtin_type(op.results[0])
    condition = rewriter.tensor(op.operands[0])
    lhs, rhs = (_operand(rewriter, value, result.element_type) for value in list(op.operands)[1:3])
    return _select(rewriter, condition, lhs, rhs, result)


def masked_fill(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.masked_fill(x, mask, value)."""
    result = rewriter.builtin_type(op.results[0])
    kind = result.element_type
    x, mask = _operand(rewriter, op.operands[0], kind), rewriter.tensor(op.operands[1])
    return _select(rewriter, mask, _operand(rewriter, op.operands[2], kind), x, result)


def _select(
    rewriter: Rewriter,
    condition: ir.Value,
    lhs: ir.Value,
    rhs: ir.Value,
    result: ir.RankedTensorType,
) -> ir.Value:
    flag = rewriter.converted(condition, ir.IntegerType.get_signless(1))
    return SelectOp(condition=flag, lhs=lhs, rhs=rhs, result=result).result


def to_dtype(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten._to_copy and its kind: the result's type says what is wanted."""
    result = rewriter.builtin_type(op.results[0])
    return rewriter.converted(rewriter.tensor(op.operands[0]), result.element_type)


def clamp(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.clamp(x, least?, most?), numbers or tensors."""
    result = rewriter.builtin_type(op.results[0])
    value = _operand(rewriter, op.operands[0], result.element_type)
    for operand, function in zip(list(op.operands)[1:3], ("maximum", "minimum"), strict=False):
        if not rewriter.is_none(operand):
            limit = _operand(rewriter, operand, result.element_type)
            value = _binary_op(function, value, limit, result)
    return value


def _clamp_one(function: str) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        lhs, rhs, result = _pair(rewriter, op)
        return _binary_op(function, lhs, rhs, result)

    return convert


def filled(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """Constants of one value: aten.full, zeros, ones, and their likes; broadcast at run time."""
    result = rewriter.builtin_type(op.results[0])
    name = op.operation.name
    if "zeros" in name:
        value = 0
    elif "ones" in name:
        value = 1
    else:
        # full(size, value), full_like(x, value), new_full(x, size, value), scalar_tensor(value)
        position = 2 if "new_full" in name else 0 if "scalar_tensor" in name else 1
        value = rewriter.constant(op.operands[position])
    return rewriter.broadcast(rewriter.scalar(value, result.element_type), result.shape)


def triangle(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.tril and aten.triu: a choice by a constant mask."""
    x = rewriter.tensor(op.operands[0])
    offset = rewriter.constant(op.operands[1])
    rows, columns = shape(x)[-2:]
    lower = "tril" in op.operation.name
    mask = np.tri(rows, columns, offset if lower else offset - 1, dtype=np.bool_)
    kept = mask if lower else ~mask
    flag = rewriter.parameter(
        f"triangle.{'lower' if lower else 'upper'}.{rows}.{columns}.{offset}",
        kept,
        ir.IntegerType.get_signless(1),
    )
    zero = rewriter.scalar(0, x.type.element_type)
    return SelectOp(condition=flag, lhs=x, rhs=zero, result=x.type).result


_FILLS = ("full", "full_like", "new_full", "zeros", "zeros_like", "new_zeros", "ones")
CONVERTERS: dict[str, Converter] = {
    "torch.aten.add.Tensor": add,
    "torch.aten.add.Scalar": add,
    "torch.aten.sub.Tensor": subtract,
    "torch.aten.sub.Scalar": subtract,
    "torch.aten.rsub.Scalar": subtract_from,
    "torch.aten.rsub.Tensor": subtract_from,
    "torch.aten.mul.Tensor": _binary("multiply"),
    "torch.aten.mul.Scalar": multiply_scalar,
    "torch.aten.div.Tensor": _binary("divide"),
    "torch.aten.div.Scalar": _binary("divide"),
    "torch.aten.div.Tensor_mode": divide_mode,
    "torch.aten.div.Scalar_mode": divide_mode,
    "torch.aten.floor_divide": _binary("floor_divide"),
    "torch.aten.floor_divide.Scalar": _binary("floor_divide"),
    "torch.aten.minimum": _binary("minimum"),
    "torch.aten.maximum": _binary("maximum"),
    "torch.aten.pow.Tensor_Tensor": _binary("power"),
    "torch.aten.pow.Scalar": _binary("power"),
    "torch.aten.remainder.Scalar": remainder,
    "torch.aten.remainder.Tensor": remainder,
    **{
        f"torch.aten.{prefix}{name}{suffix}.Tensor": _binary(name)
        for name in ("and", "or", "xor")
        for prefix, suffix in (("__", "__"), ("bitwise_", ""))
    },
    "torch.aten.logical_and": _logical("and"),
    "torch.aten.logical_or": _logical("or"),
    "torch.aten.logical_xor": _logical("xor"),
    **{
        f"torch.aten.{name}.{kind}": _compare(name)
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        for kind in ("Tensor", "Scalar")
    },
    **{
        f"torch.aten.where.{form}": where
        for form in ("self", "Scalar", "ScalarOther", "ScalarSelf")
    },
    "torch.aten.masked_fill.Scalar": masked_fill,
    "torch.aten.masked_fill.Tensor": masked_fill,
    "torch.aten._to_copy": to_dtype,
    "torch.aten.to.dtype": to_dtype,
    "torch.aten.type_as": to_dtype,
    "torch.prims.convert_element_type": to_dtype,
    "torch.aten.clamp": clamp,
    "torch.aten.clamp.Tensor": clamp,
    "torch.aten.clamp_min": _clamp_one("maximum"),
    "torch.aten.clamp_min.Tensor": _clamp_one("maximum"),
    "torch.aten.clamp_max": _clamp_one("minimum"),
    "torch.aten.clamp_max.Tensor": _clamp_one("minimum"),
    **{f"torch.aten.{name}": filled for name in (*_FILLS, "ones_like", "new_ones")},
    "torch.aten.scalar_tensor": filled,
    "torch.aten.tril": triangle,
    "torch.aten.triu": triangle,
}
