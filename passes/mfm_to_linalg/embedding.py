"""`embedding` and `integer_embedding`: rows of a table; an index outside it is clamped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build, scalar


def lower_embedding(op: Any) -> ir.Value:
    """A gather of rows."""
    return _gather(op, lambda row, column: build.extract(op.table, [row, column]))


def lower_integer_embedding(op: Any) -> ir.Value:
    """A gather of int8 rows, each rescaled by its own factor."""

    def element(row: ir.Value, column: ir.Value) -> ir.Value:
        value = build.extract(op.table, [row, column])
        multiplier, shift = (
            build.extract(op.parameters, [row, scalar.constant(field, ir.IndexType.get())])
            for field in (1, 2)
        )
        return scalar.rescale(value, multiplier, shift, 16)

    return _gather(op, element)


def _gather(op: Any, element: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    sizes = build.shape(op.result)
    last = build.shape(op.table)[0] - 1
    outer = list(range(len(sizes) - 1))

    def body(index: ir.Value) -> ir.Value:
        row = scalar.to_index(scalar.clamp(index, 0, last))
        return element(row, build.loop_index(len(sizes) - 1))

    return build.elementwise([(op.indices, outer)], sizes, build.element(op.result), body)
