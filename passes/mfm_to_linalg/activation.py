"""`gelu` and `integer_gelu`."""

from __future__ import annotations

import math as numbers
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.passes.mfm_to_linalg import build, scalar

TABLE_LAST = 1023
FRACTION_BITS = 8


def lower_gelu(op: Any) -> ir.Value:
    """The error function, or the hyperbolic tangent where the model asks for it."""
    tanh = op.approximate.value == "tanh"

    def body(x: ir.Value) -> ir.Value:
        def number(value: float) -> ir.Value:
            return scalar.constant(value, x.type)

        def times(a: ir.Value, b: ir.Value) -> ir.Value:
            return arith.MulFOp(a, b).result

        if tanh:
            cube = times(times(x, x), x)
            poly = arith.AddFOp(x, times(cube, number(0.044715))).result
            curve = math.TanhOp(times(poly, number(numbers.sqrt(2 / numbers.pi)))).result
        else:
            curve = math.ErfOp(times(x, number(numbers.sqrt(0.5)))).result
        return times(times(x, number(0.5)), arith.AddFOp(curve, number(1.0)).result)

    return build.elementwise([op.x], build.shape(op.result), build.element(op.result), body)


def lower_integer_gelu(op: Any) -> ir.Value:
    """The ramp plus a table lookup, then rescale per channel."""
    sizes = build.shape(op.result)
    multiplier, shift = (build.row(op.parameters, index) for index in range(2))
    index_shift = op.index_shift.value
    bits = build.element(op.result).width

    def body(x: ir.Value, factor: ir.Value, places: ir.Value) -> ir.Value:
        wide = scalar.extend(x, 32)
        magnitude = scalar.extend(scalar.maximum(wide, scalar.subtract(0, wide)), 64)
        scaled = scalar.add(
            scalar.multiply(magnitude, op.index_multiplier.value),
            scalar.half(index_shift),
        )
        place = scalar.minimum(scalar.shift_right(scaled, index_shift), TABLE_LAST)
        curve = build.extract(op.table, [scalar.to_index(scalar.truncate(place, 32))])
        ramp = scalar.shift_left(scalar.maximum(wide, 0), FRACTION_BITS)
        return scalar.rescale(scalar.add(ramp, curve), factor, places, bits, op.offset.value)

    return build.elementwise([op.x, multiplier, shift], sizes, build.element(op.result), body)
