"""Products and lookups as integers: linear, conv1d, matmul, attention, embedding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.arithmetic import unpack_groups
from girih.dialects.mfm.base import shape
from girih.dialects.mfm.hollow import is_hollow, once
from girih.passes.quantization import weights, wide
from girih.passes.quantization.function import FunctionQuantizer, Rule
from girih.passes.quantization.plan import WIDE_INPUT
from girih.passes.torch_to_mfm.rewriter import integer_attribute

Array = NDArray[Any]

Build = Callable[
    [ir.Value, ir.Value, ir.Value, ir.RankedTensorType], mfm.IntegerLinearOp | mfm.IntegerConv1dOp
]
"""Makes a product of an input, a weight and parameters, with a result of a type."""


def _linear(quantizer: FunctionQuantizer, op: mfm.LinearOp) -> ir.Value:
    return _product(
        quantizer,
        op,
        lambda x, weight, parameters, result: mfm.IntegerLinearOp(
            x=x, weight=weight, parameters=parameters, result=result
        ),
    )


def _conv1d(quantizer: FunctionQuantizer, op: mfm.Conv1dOp) -> ir.Value:
    return _product(
        quantizer,
        op,
        lambda x, weight, parameters, result: mfm.IntegerConv1dOp(
            x=x,
            weight=weight,
            parameters=parameters,
            kernel=op.kernel,
            stride=op.stride,
            padding=op.padding,
            result=result,
        ),
    )


def _product(
    quantizer: FunctionQuantizer, op: mfm.LinearOp | mfm.Conv1dOp, build: Build
) -> ir.Value:
    # Where only 8 bits are offered, as by attention, 16 have nothing to add.
    is_wide = WIDE_INPUT in op.operation.attributes and quantizer.groups[op.x].bits == 16
    source = quantizer.at_width(quantizer.groups[op.x], 16 if is_wide else 8)
    array = quantizer.weight(op.weight)
    if source.factor is not None:
        # A convolution's weight is tap-major: each tap sees the same channels.
        factor = np.tile(source.factor, array.shape[1] // len(source.factor))
        array = np.broadcast_to(once(array) * factor, array.shape)
    else:
        factor = None
    bias = None if op.bias is None else quantizer.weight(op.bias)
    unit = source.scale * wide.BYTE if is_wide else source.scale
    integers, row_scale = weights.quantize_rows(array, bias, unit)
    if quantizer.bits(op.weight) == 4:
        weight = _packed(quantizer, op.weight, array, row_scale, factor)
    else:
        weight = quantizer.parameter(f"{quantizer.weight_name(op.weight)}.int8", integers)
    target, name = quantizer.group(op), f"{quantizer.label(op)}.rescale"
    if not is_wide:
        array = weights.linear_parameters(row_scale, bias, source, target)
        if source.offset:
            array[0] -= (source.offset * _row_sums(quantizer, weight)).astype(np.int32)
        parameters = quantizer.parameter(name, array)
        x = quantizer.integer(op.x, 8)
        return build(x, weight, parameters, quantizer.result_type(op)).result
    part = wide.part(array, source, target)
    kind = ir.RankedTensorType.get(list(shape(op.result)), ir.IntegerType.get_signless(16))
    high, low = (
        build(half, weight, quantizer.parameter(f"{name}_{which}", parameters), kind).result
        for half, which, parameters in zip(
            wide.halves(quantizer, quantizer.integer(op.x, 16)),
            ("high", "low"),
            wide.parameters(row_scale, bias, source, part),
            strict=True,
        )
    )
    return wide.total(high, low, part, target)


def _row_sums(quantizer: FunctionQuantizer, weight: ir.Value) -> Array:
    """Sum of each row's integers as they are multiplied: what an offset of 1 in the input adds."""
    op = weight.owner.opview
    is_packed = isinstance(op, mfm.UnpackOp)
    array = quantizer.compilation.parameters[quantizer.weight_name(op.x if is_packed else weight)]
    rows = array[:1] if is_hollow(array) else array
    integers = unpack_groups(rows) if is_packed else rows
    return np.broadcast_to(integers.sum(axis=1, dtype=np.int64), len(array))


def _packed(
    quantizer: FunctionQuantizer,
    weight: ir.Value,
    array: Array,
    row_scale: Array,
    factor: Array | None = None,
) -> ir.Value:
    """A weight in groups of 4 bits, unpacked; `factor` is what its inputs are divided by."""
    name = quantizer.weight_name(weight)
    packed = quantizer.packed(name, array, row_scale, factor)
    return mfm.UnpackOp(
        x=quantizer.parameter(f"{name}.int4", packed),
        result=ir.RankedTensorType.get(array.shape, ir.IntegerType.get_signless(8)),
    ).result


def _matmul(quantizer: FunctionQuantizer, op: mfm.MatmulOp) -> ir.Value:
    lhs, rhs = (quantizer.scale(value, 8) for value in (op.lhs, op.rhs))
    multiplier, shift = weights.multiplier(lhs * rhs / quantizer.group(op).scale)
    return mfm.IntegerMatmulOp(
        lhs=quantizer.integer(op.lhs, 8),
        rhs=quantizer.integer(op.rhs, 8),
        multiplier=integer_attribute(multiplier),
        shift=integer_attribute(shift),
        transposed=op.transposed,
        result=quantizer.result_type(op),
    ).result


def _attention(quantizer: FunctionQuantizer, op: mfm.AttentionOp) -> ir.Value:
    scales = [quantizer.scale(value, 8) for value in (op.query, op.key, op.value)]
    score = weights.multiplier(scales[0] * scales[1] * op.scale.value * math.log2(math.e) * 256)
    output_multiplier, output_shift = weights.multiplier(scales[2] / quantizer.group(op).scale)
    return mfm.IntegerAttentionOp(
        query=quantizer.integer(op.query, 8),
        key=quantizer.integer(op.key, 8),
        value=quantizer.integer(op.value, 8),
        mask=op.mask,
        score_multiplier=integer_attribute(score[0]),
        score_shift=integer_attribute(score[1]),
        output_multiplier=integer_attribute(output_multiplier),
        # The reciprocal of the row's sum carries 8 more bits.
        output_shift=integer_attribute(output_shift + 8),
        causal=op.causal,
        result=quantizer.result_type(op),
    ).result


def _embedding(quantizer: FunctionQuantizer, op: mfm.EmbeddingOp) -> ir.Value:
    table = quantizer.weight(op.table)
    name = quantizer.weight_name(op.table)
    is_multiplied = quantizer.plan.is_also_multiplied(op.table.owner.opview)
    if not is_multiplied and quantizer.tables == 16:
        integers = weights.quantize_all(table, quantizer.group(op).scale)
        return mfm.EmbeddingOp(
            indices=op.indices,
            table=quantizer.parameter(f"{name}.int16", integers),
            result=quantizer.result_type(op),
        ).result
    integers, row_scale = weights.quantize_rows(table, None, 1.0)
    multiplier, shift = weights.multipliers(row_scale / quantizer.group(op).scale)
    parameters = np.stack([np.zeros_like(multiplier), multiplier, shift], axis=1)
    # The same integers as those of a linear that shares the weight (tied logits).
    if is_multiplied and quantizer.bits(op.table) == 4:
        rows = _packed(quantizer, op.table, table, row_scale)
    else:
        rows = quantizer.parameter(f"{name}.int8", integers)
    return mfm.IntegerEmbeddingOp(
        indices=op.indices,
        table=rows,
        parameters=quantizer.parameter(f"{quantizer.label(op)}.rescale_rows", parameters),
        result=quantizer.result_type(op),
    ).result


RULES: dict[type, Rule] = {
    mfm.AttentionOp: _attention,
    mfm.Conv1dOp: _conv1d,
    mfm.EmbeddingOp: _embedding,
    mfm.LinearOp: _linear,
    mfm.MatmulOp: _matmul,
}
