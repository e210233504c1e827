"""`integer_matmul`."""

from __future__ import annotations

import math
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import linalg

from girih.passes.mfm_to_linalg import build, scalar


def lower_integer_matmul(op: Any) -> ir.Value:
    """Exact sums with all leading axes as one, then rescale."""
    *batch, rows, columns = build.shape(op.result)
    count = math.prod(batch)
    lhs, rhs = (
        build.reshape(value, [count, *build.shape(value)[-2:]]) for value in (op.lhs, op.rhs)
    )
    i32 = scalar.integer_type(32)
    if op.is_transposed:
        sums = build.matmul(lhs, rhs, i32)
    else:
        sums = linalg.batch_matmul(lhs, rhs, outs=[build.filled([count, rows, columns], i32, 0)])
    out = build.elementwise(
        [sums],
        [count, rows, columns],
        build.element(op.result),
        lambda total: scalar.rescale(
            total, op.multiplier.value, op.shift.value, build.width(op.result)
        ),
    )
    return build.reshape(out, build.shape(op.result))
