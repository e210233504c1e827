"""`linear` and `integer_linear`."""

from __future__ import annotations

import math
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith

from girih.passes.mfm_to_linalg import build, scalar


def lower_linear(op: Any) -> ir.Value:
    """A product with the transposed weight, and the bias."""
    return with_bias(product(op.x, op.weight, ir.F32Type.get()), op.bias, build.shape(op.result))


def lower_integer_linear(op: Any) -> ir.Value:
    """Exact sums, then bias and rescale."""
    sums = product(op.x, op.weight, scalar.integer_type(32))
    return rescale_channels(sums, op.parameters, op.result.type)


def product(x: ir.Value, weight: ir.Value, accumulator: ir.Type) -> ir.Value:
    """``x @ weight.T`` over the last axis, as a matrix: (..., K), (N, K) -> (rows, N)."""
    *outer, depth = build.shape(x)
    rows = math.prod(outer)
    matrix = build.reshape(x, [rows, depth])
    if rows == 1:
        return vector_product(matrix, weight, accumulator)
    return build.matmul(matrix, weight, accumulator)


def vector_product(x: ir.Value, weight: ir.Value, accumulator: ir.Type) -> ir.Value:
    """``x @ weight.T`` for one row, (1, K), (N, K) -> (1, N), as a plain reduction.

    One row reads each weight once: packing the weight, as IREE does for matrices, only costs.
    """
    count, depth = build.shape(weight)
    vector = build.reshape(x, [depth])
    total = build.reduce_last(
        [(vector, [1]), weight], [count, depth], accumulator, 0, multiply_accumulate
    )
    return build.reshape(total, [1, count])


def multiply_accumulate(a: ir.Value, b: ir.Value, total: ir.Value) -> ir.Value:
    """``total + a * b`` in the accumulator's type."""
    if isinstance(total.type, ir.IntegerType):
        bits = scalar.width_of(total)
        return scalar.add(total, scalar.multiply(scalar.extend(a, bits), scalar.extend(b, bits)))
    wide = [each if each.type == total.type else arith.ExtFOp(total.type, each) for each in (a, b)]
    return arith.AddFOp(total, arith.MulFOp(*wide).result).result


def with_bias(sums: ir.Value, bias: ir.Value | None, sizes: build.Shape) -> ir.Value:
    """Add the bias to (rows, N) sums, if there is one, and give them their shape."""
    if bias is not None:
        sums = build.elementwise(
            [sums, bias],
            build.shape(sums),
            build.element(sums),
            lambda a, b: arith.AddFOp(a, b).result,
        )
    return build.reshape(sums, sizes)


def rescale_channels(sums: ir.Value, parameters: ir.Value, result: ir.Type) -> ir.Value:
    """Add the bias to (rows, N) int32 sums and rescale: parameters (3, N) i32."""
    kind = ir.RankedTensorType(result)
    bits = ir.IntegerType(kind.element_type).width
    rows = [build.row(parameters, index) for index in range(3)]
    out = build.elementwise(
        [sums, *rows],
        build.shape(sums),
        kind.element_type,
        lambda total, bias, multiplier, shift: scalar.rescale(
            scalar.add(total, bias), multiplier, shift, bits
        ),
    )
    return build.reshape(out, list(kind.shape))
