"""`quantize`, `dequantize` and `rescale`."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.passes.mfm_to_linalg import build, scalar


def lower_quantize(op: Any) -> ir.Value:
    """Multiply, round half to even, clamp as floats, convert; not-a-number gives 0."""
    kind = build.element(op.result)
    limit = 1 << (build.width(op.result) - 1)

    def body(x: ir.Value) -> ir.Value:
        scaled = arith.MulFOp(x, scalar.constant(op.inverse_scale.value, x.type)).result
        rounded = math.RoundEvenOp(scaled).result
        # The comparison is false for not-a-number, which the conversion must never see.
        number = scalar.select(scalar.compare("eq", rounded, rounded), rounded, 0.0)
        low = arith.MaximumFOp(number, scalar.constant(-limit, x.type)).result
        clamped = arith.MinimumFOp(low, scalar.constant(limit - 1, x.type)).result
        wide = arith.FPToSIOp(scalar.integer_type(32), clamped).result
        return scalar.truncate(wide, ir.IntegerType(kind).width)

    return build.elementwise([op.x], build.shape(op.result), kind, body)


def lower_dequantize(op: Any) -> ir.Value:
    """Convert and multiply."""
    kind = build.element(op.result)

    def body(x: ir.Value) -> ir.Value:
        number = arith.SIToFPOp(kind, x).result
        return arith.MulFOp(number, scalar.constant(op.scale.value, kind)).result

    return build.elementwise([op.x], build.shape(op.result), kind, body)


def lower_rescale(op: Any) -> ir.Value:
    """From one integer scale to another."""
    bits = build.width(op.result)
    return build.elementwise(
        [op.x],
        build.shape(op.result),
        build.element(op.result),
        lambda x: scalar.rescale(x, op.multiplier.value, op.shift.value, bits),
    )
