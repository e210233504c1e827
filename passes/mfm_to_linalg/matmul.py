"""`matmul`."""

from __future__ import annotations

import math
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import linalg

from girih.passes.mfm_to_linalg import build


def lower_matmul(op: Any) -> ir.Value:
    """All leading axes as one batch."""
    *batch, rows, columns = build.shape(op.result)
    count, kind = math.prod(batch), build.element(op.result)
    lhs, rhs = (
        build.reshape(value, [count, *build.shape(value)[-2:]]) for value in (op.lhs, op.rhs)
    )
    if op.is_transposed:
        sums = build.matmul(lhs, rhs, kind)
    else:
        sums = linalg.batch_matmul(lhs, rhs, outs=[build.filled([count, rows, columns], kind, 0)])
    return build.reshape(sums, build.shape(op.result))
