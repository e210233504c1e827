"""`softmax`."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import arith, math

from girih.passes.mfm_to_linalg import build


def lower_softmax(op: Any) -> ir.Value:
    """The row's maximum, the exponentials, their sum, the quotients."""
    sizes, kind = build.shape(op.x), build.element(op.x)
    rows = list(range(len(sizes) - 1))
    top = build.reduce_last(
        [op.x], sizes, kind, float("-inf"), lambda x, acc: arith.MaximumFOp(x, acc).result
    )
    weights = build.elementwise(
        [op.x, (top, rows)],
        sizes,
        kind,
        lambda x, top: math.ExpOp(arith.SubFOp(x, top).result).result,
    )
    total = build.reduce_last([weights], sizes, kind, 0, lambda w, acc: arith.AddFOp(acc, w).result)
    return build.elementwise(
        [weights, (total, rows)], sizes, kind, lambda w, total: arith.DivFOp(w, total).result
    )
