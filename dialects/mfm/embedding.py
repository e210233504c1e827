"""Table lookups: token and positional embeddings."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    element,
    expect_element,
    expect_rank,
    expect_shape,
    rank_problem,
    shape,
)


def _rows(table: Array, indices: Array) -> Array:
    if indices.size and not (0 <= indices.min() and indices.max() < len(table)):
        bad = indices[(indices < 0) | (indices >= len(table))].flat[0]
        raise IndexError(f"index {bad} is outside a table of {len(table)} rows")
    return table[indices]


class EmbeddingOp(Operation, name="embedding", traits=[ext.Pure]):
    """``table[indices]``.

    indices (...) i32 or i64, table (V, C) of any type; result (..., C) as the table. An index
    outside 0 .. V-1 is an error here and on the accelerator, and is clamped by IREE.
    """

    indices: ext.Operand[Any]
    table: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        if not expect_rank("table", self.table, 2):
            yield rank_problem("table", self.table, 2)
            return
        yield from expect_element("indices", self.indices, "i32", "i64")
        yield from expect_element("result", self.result, element(self.table))
        yield from expect_shape("result", self.result, (*shape(self.indices), shape(self.table)[1]))

    def reference(self, *inputs: Array) -> Array:
        return _rows(inputs[1], inputs[0])


class IntegerEmbeddingOp(Operation, name="integer_embedding", traits=[ext.Pure]):
    """Lookup in an int8 table whose rows have scales of their own.

    indices (...) i32 or i64, table (V, C) i8, parameters (V, 3) i32: 0, multiplier, shift per row
    (the first column keeps the layout of a rescale); result (..., C) i16.
    """

    indices: ext.Operand[Any]
    table: ext.Operand[Any]
    parameters: ext.Operand[Any]
    result: ext.Result[Any]

    def check(self) -> Iterator[str]:
        if not expect_rank("table", self.table, 2):
            yield rank_problem("table", self.table, 2)
            return
        rows, columns = shape(self.table)
        yield from expect_element("indices", self.indices, "i32", "i64")
        yield from expect_element("table", self.table, "i8")
        yield from expect_element("result", self.result, "i16")
        yield from expect_shape("parameters", self.parameters, (rows, 3))
        yield from expect_shape("result", self.result, (*shape(self.indices), columns))

    def reference(self, *inputs: Array) -> Array:
        indices, table, parameters = inputs
        _, multiplier, shift = np.moveaxis(_rows(parameters, indices), -1, 0)
        return arithmetic.rescale(
            _rows(table, indices), multiplier[..., None], shift[..., None], np.int16
        )
