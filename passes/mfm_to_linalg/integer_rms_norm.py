"""`integer_rms_norm`, over the last axis."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build, scalar
from girih.passes.mfm_to_linalg.normalization import integer_square_root


def lower_integer_rms_norm(op: Any) -> ir.Value:
    """docs/numerics.md, integer_layer_norm, steps 3 to 7 with ``c = 16 x`` and b = 0."""
    sizes = build.shape(op.x)
    channels, axes = sizes[-1], list(range(len(sizes) - 1))
    i64 = scalar.integer_type(64)
    bits, shift = build.width(op.result), op.shift.value

    def scaled(x: ir.Value) -> ir.Value:
        return scalar.extend(scalar.multiply(scalar.extend(x, 32), 16), 64)

    squares = build.reduce_last(
        [op.x],
        sizes,
        i64,
        0,
        lambda x, acc: scalar.add(acc, scalar.multiply(scaled(x), scaled(x))),
    )

    def reciprocal_of(total: ir.Value) -> ir.Value:
        variance = scalar.add(scalar.divide_positive(total, channels), op.epsilon.value)
        root = integer_square_root(scalar.shift_left(variance, 20))
        return scalar.divide_positive(scalar.constant(1 << 42, i64), root)

    reciprocal = build.elementwise([squares], sizes[:-1], i64, reciprocal_of)

    def body(x: ir.Value, r: ir.Value, gamma: ir.Value) -> ir.Value:
        product = scalar.multiply(scaled(x), r)
        normal = scalar.shift_right(scalar.add(product, scalar.half(16)), 16)
        return scalar.round_shift(scalar.multiply(normal, scalar.extend(gamma, 64)), shift, bits)

    return build.elementwise(
        [op.x, (reciprocal, axes), build.row(op.parameters, 0)],
        sizes,
        build.element(op.result),
        body,
    )
