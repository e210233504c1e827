"""`layer_norm`, `rms_norm` and `integer_layer_norm`, over the last axis."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.passes.mfm_to_linalg import build, scalar


def lower_layer_norm(op: Any) -> ir.Value:
    """Mean, variance about it, then scale and offset: three passes over a row in registers."""
    sizes, kind = build.shape(op.x), build.element(op.x)
    share = 1.0 / sizes[-1]
    axes = list(range(len(sizes) - 1))

    def times(a: ir.Value, b: ir.Value) -> ir.Value:
        return arith.MulFOp(a, b).result

    total = build.reduce_last([op.x], sizes, kind, 0, lambda x, acc: arith.AddFOp(acc, x).result)
    mean = build.elementwise(
        [total], sizes[:-1], kind, lambda t: times(t, scalar.constant(share, kind))
    )

    def square(x: ir.Value, m: ir.Value, acc: ir.Value) -> ir.Value:
        centered = arith.SubFOp(x, m).result
        return arith.AddFOp(acc, times(centered, centered)).result

    squares = build.reduce_last([op.x, (mean, axes)], sizes, kind, 0, square)

    def inverse(total: ir.Value) -> ir.Value:
        variance = times(total, scalar.constant(share, kind))
        shifted = arith.AddFOp(variance, scalar.constant(op.epsilon.value, kind)).result
        return arith.DivFOp(scalar.constant(1.0, kind), math.SqrtOp(shifted).result).result

    scale = build.elementwise([squares], sizes[:-1], kind, inverse)

    def body(x: ir.Value, m: ir.Value, s: ir.Value, gamma: ir.Value, beta: ir.Value) -> ir.Value:
        normal = times(arith.SubFOp(x, m).result, s)
        return arith.AddFOp(times(normal, gamma), beta).result

    return build.elementwise(
        [op.x, (mean, axes), (scale, axes), op.gamma, op.beta], sizes, kind, body
    )


def lower_rms_norm(op: Any) -> ir.Value:
    """The mean square, then scale: two passes over a row in registers."""
    sizes, kind = build.shape(op.x), build.element(op.x)
    axes = list(range(len(sizes) - 1))

    def times(a: ir.Value, b: ir.Value) -> ir.Value:
        return arith.MulFOp(a, b).result

    squares = build.reduce_last(
        [op.x], sizes, kind, 0, lambda x, acc: arith.AddFOp(acc, times(x, x)).result
    )

    def inverse(total: ir.Value) -> ir.Value:
        mean = times(total, scalar.constant(1.0 / sizes[-1], kind))
        shifted = arith.AddFOp(mean, scalar.constant(op.epsilon.value, kind)).result
        return arith.DivFOp(scalar.constant(1.0, kind), math.SqrtOp(shifted).result).result

    scale = build.elementwise([squares], sizes[:-1], kind, inverse)
    return build.elementwise(
        [op.x, (scale, axes), op.gamma], sizes, kind, lambda x, s, gamma: times(times(x, s), gamma)
    )


def lower_integer_layer_norm(op: Any) -> ir.Value:
    """docs/numerics.md, integer_layer_norm, steps 1 to 7."""
    sizes = build.shape(op.x)
    channels, axes = sizes[-1], list(range(len(sizes) - 1))
    i32, i64 = scalar.integer_type(32), scalar.integer_type(64)
    bits = build.width(op.result)
    gamma, beta = (build.row(op.parameters, index) for index in range(2))

    # |sum| <= 65536 * 2^15 = 2^31, reached only from below: int32 holds it.
    total = build.reduce_last(
        [op.x], sizes, i32, 0, lambda x, acc: scalar.add(acc, scalar.extend(x, 32))
    )

    def mean_of(total: ir.Value) -> ir.Value:
        doubled = scalar.add(scalar.multiply(scalar.extend(total, 64), 32), channels)
        return scalar.truncate(scalar.divide_floor(doubled, 2 * channels), 32)

    mean = build.elementwise([total], sizes[:-1], i32, mean_of)

    def centered(x: ir.Value, m: ir.Value) -> ir.Value:
        return scalar.subtract(scalar.multiply(scalar.extend(x, 32), 16), m)

    def square(x: ir.Value, m: ir.Value, acc: ir.Value) -> ir.Value:
        wide = scalar.extend(centered(x, m), 64)
        return scalar.add(acc, scalar.multiply(wide, wide))

    squares = build.reduce_last([op.x, (mean, axes)], sizes, i64, 0, square)

    def reciprocal_of(total: ir.Value) -> ir.Value:
        variance = scalar.add(scalar.divide_positive(total, channels), op.epsilon.value)
        root = integer_square_root(scalar.shift_left(variance, 20))
        return scalar.divide_positive(scalar.constant(1 << 42, i64), root)

    reciprocal = build.elementwise([squares], sizes[:-1], i64, reciprocal_of)
    shift = op.shift.value

    def body(x: ir.Value, m: ir.Value, r: ir.Value, gamma: ir.Value, beta: ir.Value) -> ir.Value:
        product = scalar.multiply(scalar.extend(centered(x, m), 64), r)
        normal = scalar.shift_right(scalar.add(product, scalar.half(16)), 16)
        offset = scalar.shift_left(scalar.extend(beta, 64), 8)
        scaled = scalar.add(scalar.multiply(normal, scalar.extend(gamma, 64)), offset)
        return scalar.round_shift(scaled, shift, bits)

    return build.elementwise(
        [op.x, (mean, axes), (reciprocal, axes), gamma, beta],
        sizes,
        build.element(op.result),
        body,
    )


def integer_square_root(value: ir.Value) -> ir.Value:
    """Floor of the exact square root of an i64 below 2^62.

    The float64 root is within one of it: two comparisons correct that.
    """
    wide, one = value.type, scalar.constant(1, value.type)
    zero = scalar.constant(0, wide)
    guess = math.SqrtOp(arith.SIToFPOp(ir.F64Type.get(), value).result).result
    root = arith.FPToSIOp(wide, guess).result
    above = scalar.compare("gt", scalar.multiply(root, root), value)
    root = scalar.subtract(root, scalar.select(above, one, zero))
    following = scalar.add(root, 1)
    fits = scalar.compare("le", scalar.multiply(following, following), value)
    return scalar.add(root, scalar.select(fits, one, zero))
