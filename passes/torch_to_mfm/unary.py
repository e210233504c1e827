"""Functions of one number."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.dialects.mfm import AddOp, MultiplyScalarOp, UnaryOp
from girih.dialects.mfm.base import element
from girih.dialects.mfm.unary import UNARY
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    float_attribute,
)


def apply(function: str, x: ir.Value) -> ir.Value:
    """``function(x)``; refuses element types that it does not take."""
    if element(x) not in UNARY[function][1]:
        raise NotConvertibleError(f"{function} of {element(x)} has no mfm form")
    return UnaryOp(x=x, function=ir.StringAttr.get(function), result=x.type).result


def _unary(function: str) -> Converter:
    return lambda rewriter, op: apply(function, rewriter.tensor(op.operands[0]))


def bitwise_not(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.bitwise_not(x): of truth values, the logical one."""
    x = rewriter.tensor(op.operands[0])
    return apply("logical_not" if element(x) == "i1" else "bitwise_not", x)


def _constants(rewriter: Rewriter, op: ir.OpView, expected: list[Any]) -> None:
    found = [rewriter.constant(value) for value in op.operands[1:]]
    if found != expected:
        raise NotConvertibleError(f"only arguments {expected} have an mfm form, here {found}")


def elu(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.elu(x, alpha = 1, scale = 1, input_scale = 1)."""
    _constants(rewriter, op, [1, 1, 1])
    return apply("elu", rewriter.tensor(op.operands[0]))


def softplus(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.softplus(x, beta, threshold): the threshold, 20, is above float32's precision."""
    x = rewriter.tensor(op.operands[0])
    beta, threshold = (rewriter.constant(value) for value in op.operands[1:3])
    if beta <= 0 or threshold < 16:
        raise NotConvertibleError(f"softplus with threshold {threshold} has no mfm form")
    return _scaled(apply("softplus", _scaled(x, beta)), 1 / beta)


def leaky_relu(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.leaky_relu(x, slope) = relu(x) - slope relu(-x)."""
    x = rewriter.tensor(op.operands[0])
    rewriter.require_float32(x)
    below = apply("relu", apply("negate", x))
    scaled = _scaled(below, -rewriter.constant(op.operands[1]))
    return AddOp(lhs=apply("relu", x), rhs=scaled, result=x.type).result


def _scaled(x: ir.Value, factor: float) -> ir.Value:
    if factor == 1:
        return x
    if element(x) != "f32":
        raise NotConvertibleError(f"element type {element(x)} has no mfm form")
    return MultiplyScalarOp(x=x, factor=float_attribute(factor), result=x.type).result


CONVERTERS: dict[str, Converter] = {
    **{
        f"torch.aten.{name}": _unary(function)
        for name, function in {
            "abs": "absolute",
            "ceil": "ceil",
            "cos": "cosine",
            "erf": "erf",
            "exp": "exp",
            "floor": "floor",
            "hardsigmoid": "hard_sigmoid",
            "hardswish": "hard_swish",
            "log": "log",
            "logical_not": "logical_not",
            "neg": "negate",
            "reciprocal": "reciprocal",
            "relu": "relu",
            "round": "round",
            "rsqrt": "rsqrt",
            "sigmoid": "sigmoid",
            "silu": "silu",
            "sin": "sine",
            "sqrt": "sqrt",
            "tanh": "tanh",
        }.items()
    },
    "torch.aten.bitwise_not": bitwise_not,
    "torch.aten.elu": elu,
    "torch.aten.leaky_relu": leaky_relu,
    "torch.aten.softplus": softplus,
}
