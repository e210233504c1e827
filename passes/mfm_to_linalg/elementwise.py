"""`add`, `integer_add`, `multiply_scalar` and `compare`."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith

from girih.passes.mfm_to_linalg import build, scalar


def lower_add(op: Any) -> ir.Value:
    """Broadcast addition."""
    kind = build.element(op.result)
    operation = arith.AddIOp if isinstance(kind, ir.IntegerType) else arith.AddFOp
    return build.elementwise(
        [op.lhs, op.rhs], build.shape(op.result), kind, lambda a, b: operation(a, b).result
    )


def lower_integer_add(op: Any) -> ir.Value:
    """Two products, one rounding."""
    bits, shift = build.width(op.result), op.shift.value

    def body(a: ir.Value, b: ir.Value) -> ir.Value:
        left = scalar.multiply(scalar.extend(a, 64), op.lhs_multiplier.value)
        right = scalar.multiply(scalar.extend(b, 64), op.rhs_multiplier.value)
        return scalar.round_shift(scalar.add(left, right), shift, bits)

    return build.elementwise(
        [op.lhs, op.rhs], build.shape(op.result), build.element(op.result), body
    )


def lower_multiply_scalar(op: Any) -> ir.Value:
    """A product with a constant."""
    return build.elementwise(
        [op.x],
        build.shape(op.result),
        build.element(op.result),
        lambda a: arith.MulFOp(a, scalar.constant(op.factor.value, a.type)).result,
    )


def lower_compare(op: Any) -> ir.Value:
    """Broadcast comparison."""
    return build.elementwise(
        [op.lhs, op.rhs],
        build.shape(op.result),
        build.element(op.result),
        lambda a, b: scalar.compare(op.predicate.value, a, b),
    )
