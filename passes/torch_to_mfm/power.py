"""Powers of a constant exponent, and what is clipped between two numbers."""

from __future__ import annotations

from torch_mlir import ir

from girih.dialects.mfm import BinaryOp
from girih.dialects.mfm.base import element
from girih.passes.torch_to_mfm.rewriter import Converter, NotConvertibleError, Rewriter
from girih.passes.torch_to_mfm.unary import apply

_ROOTS = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
_LARGEST = 8
"""Whole exponents up to which a power is products: exact signs, and few roundings."""


def power(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.pow.Tensor_Scalar(x, exponent)."""
    x = rewriter.tensor(op.operands[0])
    exponent = rewriter.constant(op.operands[1])
    result = rewriter.builtin_type(op.results[0])
    x = rewriter.converted(x, result.element_type)
    if exponent in range(1, _LARGEST + 1):
        return _whole(x, int(exponent))
    if element(x) != "f32":
        raise NotConvertibleError(f"{element(x)} to the power {exponent} has no mfm form")
    if float(exponent) in _ROOTS:
        return apply(_ROOTS[float(exponent)], x)
    return _binary("power", x, rewriter.scalar(exponent, result.element_type))


def _whole(x: ir.Value, exponent: int) -> ir.Value:
    if exponent == 1:
        return x
    half = _whole(x, exponent // 2)
    square = _binary("multiply", half, half)
    return square if exponent % 2 == 0 else _binary("multiply", square, x)


def hardtanh(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.hardtanh(x, least, most)."""
    least, most = (rewriter.constant(value) for value in op.operands[1:3])
    return _clipped(rewriter, op, least, most)


def _clipped(rewriter: Rewriter, op: ir.OpView, least: float, most: float) -> ir.Value:
    x = rewriter.tensor(op.operands[0])
    for function, limit in (("maximum", least), ("minimum", most)):
        x = _binary(function, x, rewriter.scalar(limit, x.type.element_type))
    return x


def _binary(function: str, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    name = ir.StringAttr.get(function)
    return BinaryOp(lhs=lhs, rhs=rhs, function=name, result=lhs.type).result


CONVERTERS: dict[str, Converter] = {
    "torch.aten.pow.Tensor_Scalar": power,
    "torch.aten.square": lambda rewriter, op: _whole(rewriter.tensor(op.operands[0]), 2),
    "torch.aten.hardtanh": hardtanh,
    "torch.aten.relu6": lambda rewriter, op: _clipped(rewriter, op, 0, 6),
}
