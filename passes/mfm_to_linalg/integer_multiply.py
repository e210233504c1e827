"""`integer_multiply`."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build, scalar


def lower_integer_multiply(op: Any) -> ir.Value:
    """The product of two int16 fits int32; its rescale is one more product."""
    bits = build.width(op.result)

    def body(a: ir.Value, b: ir.Value) -> ir.Value:
        product = scalar.multiply(scalar.extend(a, 32), scalar.extend(b, 32))
        return scalar.rescale(product, op.multiplier.value, op.shift.value, bits)

    return build.elementwise(
        [op.lhs, op.rhs], build.shape(op.result), build.element(op.result), body
    )
