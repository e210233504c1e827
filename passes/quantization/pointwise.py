"""Norms, activations and arithmetic as integers."""

from __future__ import annotations

import math

import numpy as np
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.activation import gelu_ramp, ramp_table
from girih.dialects.mfm.base import shape
from girih.passes.quantization import weights
from girih.passes.quantization.function import FunctionQuantizer, Rule
from girih.passes.quantization.plan import LARGEST_EPSILON, NORM_STEPS, Group, is_weight
from girih.passes.torch_to_mfm.rewriter import integer_attribute


def _layer_norm(quantizer: FunctionQuantizer, op: mfm.LayerNormOp) -> ir.Value:
    gamma, beta = quantizer.weight(op.gamma), quantizer.weight(op.beta)
    parameters, shift = weights.layer_norm_parameters(gamma, beta, quantizer.group(op))
    return mfm.IntegerLayerNormOp(
        x=quantizer.integer(op.x, 16),
        parameters=quantizer.parameter(f"{quantizer.label(op)}.scales", parameters),
        epsilon=_epsilon(quantizer, op),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _rms_norm(quantizer: FunctionQuantizer, op: mfm.RmsNormOp) -> ir.Value:
    gamma = quantizer.weight(op.gamma)
    parameters, shift = weights.layer_norm_parameters(
        gamma, np.zeros_like(gamma), quantizer.group(op)
    )
    return mfm.IntegerRmsNormOp(
        x=quantizer.integer(op.x, 16),
        parameters=quantizer.parameter(f"{quantizer.label(op)}.scales", parameters[:1]),
        epsilon=_epsilon(quantizer, op),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _epsilon(quantizer: FunctionQuantizer, op: mfm.LayerNormOp | mfm.RmsNormOp) -> ir.IntegerAttr:
    """The norm's epsilon in squared sixteenths of its input's unit."""
    epsilon = math.ceil(op.epsilon.value * (NORM_STEPS / quantizer.scale(op.x, 16)) ** 2)
    return integer_attribute(min(max(epsilon, 1), LARGEST_EPSILON))


def _gelu(quantizer: FunctionQuantizer, op: mfm.GeluOp) -> ir.Value:
    return _ramp(quantizer, op, gelu_ramp(op))


def _ramp(quantizer: FunctionQuantizer, op: mfm.GeluOp | mfm.UnaryOp, function: str) -> ir.Value:
    source, target = quantizer.at_width(quantizer.groups[op.x], 16), quantizer.group(op)
    label = quantizer.label(op)
    multiplier, shift = weights.gelu_index(source)
    parameters = weights.gelu_parameters(source, target, shape(op.x)[-1])
    return mfm.IntegerGeluOp(
        x=quantizer.integer(op.x, 16),
        parameters=quantizer.parameter(f"{label}.{function}_rescale", parameters),
        table=quantizer.parameter(f"{label}.{function}_table", ramp_table(source.scale, function)),
        index_multiplier=integer_attribute(multiplier),
        index_shift=integer_attribute(shift),
        offset=integer_attribute(target.offset),
        result=quantizer.result_type(op),
    ).result


def _unary(quantizer: FunctionQuantizer, op: mfm.UnaryOp) -> ir.Value:
    if op.function.value != "negate":
        return _ramp(quantizer, op, op.function.value)
    number, group = quantizer.either(op.x)
    return negated(quantizer, number, group, quantizer.group(op))


def negated(quantizer: FunctionQuantizer, x: ir.Value, source: Group, target: Group) -> ir.Value:
    """Minus x, as the product with a row of -1: multipliers have no sign."""
    row = shape(x)[-1:]
    ones = quantizer.parameter(f"minus_ones.{math.prod(row)}", np.full(row, -1, np.int16))
    multiplier, shift = weights.multiplier(source.scale / target.scale)
    kind = ir.IntegerType.get_signless(target.bits)
    return mfm.IntegerMultiplyOp(
        lhs=x,
        rhs=ones,
        multiplier=integer_attribute(multiplier),
        shift=integer_attribute(shift),
        result=ir.RankedTensorType.get(list(shape(x)), kind),
    ).result


def _add(quantizer: FunctionQuantizer, op: mfm.AddOp) -> ir.Value:
    lhs, rhs = quantizer.either(op.lhs), quantizer.either(op.rhs)
    return _sum(quantizer, op, lhs, rhs)


def _sum(
    quantizer: FunctionQuantizer,
    op: mfm.AddOp | mfm.BinaryOp,
    lhs: tuple[ir.Value, Group],
    rhs: tuple[ir.Value, Group],
) -> ir.Value:
    first, second, shift = weights.add_multipliers(lhs[1], rhs[1], quantizer.group(op))
    return mfm.IntegerAddOp(
        lhs=lhs[0],
        rhs=rhs[0],
        lhs_multiplier=integer_attribute(first),
        rhs_multiplier=integer_attribute(second),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _binary(quantizer: FunctionQuantizer, op: mfm.BinaryOp) -> ir.Value:
    lhs = quantizer.either(op.lhs)
    if op.function.value == "divide":
        return _times(quantizer, op, lhs, quantizer.constant(op.rhs, np.reciprocal))
    if op.function.value == "multiply":
        return _times(quantizer, op, lhs, quantizer.either(op.rhs))
    if is_weight(op.rhs):
        return _sum(quantizer, op, lhs, quantizer.constant(op.rhs, np.negative))
    rhs = quantizer.either(op.rhs)
    wide = Group(rhs[1].maximum, {16}, {16}) if rhs[1].bits == 8 else rhs[1]
    return _sum(quantizer, op, lhs, (negated(quantizer, *rhs, wide), wide))


def _times(
    quantizer: FunctionQuantizer,
    op: mfm.BinaryOp,
    lhs: tuple[ir.Value, Group],
    rhs: tuple[ir.Value, Group],
) -> ir.Value:
    multiplier, shift = weights.multiplier(lhs[1].scale * rhs[1].scale / quantizer.group(op).scale)
    return mfm.IntegerMultiplyOp(
        lhs=lhs[0],
        rhs=rhs[0],
        multiplier=integer_attribute(multiplier),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _multiply_scalar(quantizer: FunctionQuantizer, op: mfm.MultiplyScalarOp) -> ir.Value:
    number, source = quantizer.either(op.x)
    target, factor = quantizer.group(op), op.factor.value
    if factor < 0:
        scaled = Group(source.maximum * -factor, {source.bits}, {source.bits})
        return negated(quantizer, number, scaled, target)
    multiplier, shift = weights.multiplier(source.scale * factor / target.scale)
    return mfm.RescaleOp(
        x=number,
        multiplier=integer_attribute(multiplier),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


RULES: dict[type, Rule] = {
    mfm.AddOp: _add,
    mfm.BinaryOp: _binary,
    mfm.GeluOp: _gelu,
    mfm.LayerNormOp: _layer_norm,
    mfm.MultiplyScalarOp: _multiply_scalar,
    mfm.RmsNormOp: _rms_norm,
    mfm.UnaryOp: _unary,
}
