"""`concatenate`, `pad` and `broadcast`."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build


def lower_concatenate(op: Any) -> ir.Value:
    """Each part inserted at its place."""
    axis, kind = op.axis.value, build.element(op.result)
    parts = list(op.parts)
    if len(parts) == 1:
        return parts[0]
    result = build.empty(build.shape(op.result), kind)
    start = 0
    for part in parts:
        sizes = build.shape(part)
        offsets = [0] * len(sizes)
        offsets[axis] = start
        result = build.insert_slice(part, result, offsets)
        start += sizes[axis]
    return result


def lower_pad(op: Any) -> ir.Value:
    """`tensor.pad` with a constant."""
    kind = build.element(op.x)
    value: float = op.value.value
    fill = int(value) if isinstance(kind, ir.IntegerType) else value
    return build.pad(op.x, list(op.low), list(op.high), fill)


def lower_broadcast(op: Any) -> ir.Value:
    """A copy that reads elements several times."""
    sizes = build.shape(op.result)
    return build.elementwise([op.x], sizes, build.element(op.x), lambda a: a)
