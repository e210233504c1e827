"""The systolic array."""

from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.npu.base import Array, Instruction, flag

B_TRANSPOSED, ACCUMULATE, OUTPUT_STATIONARY = 1, 2, 4


class MatmulOp(Instruction, name="matmul"):
    """``c (+)= a @ b``, sums exact.

    a (rows x depth) i8 or u8, b (columns x depth) i8 when transposed, else (depth x columns),
    c (rows x columns) i32 in the accumulator.
    """

    a: ext.Operand[Any]
    b: ext.Operand[Any]
    c: ext.Operand[Any]

    ENGINE = "matrix"
    SPACES = (("scratchpad",), ("scratchpad",), ("accumulator",))
    WRITES = (2,)

    def reads(self, index: int) -> bool:
        return index != 2 or flag(self, ACCUMULATE)

    def extent(self, index: int) -> tuple[int, int]:
        rows, columns, depth = self.rows.value, self.columns.value, self.depth.value
        if index == 1:
            return (columns, depth) if flag(self, B_TRANSPOSED) else (depth, columns)
        return (rows, depth) if index == 0 else (rows, 4 * columns)

    def reference(self, *tiles: Array) -> Array:
        a, b, c = tiles
        product = arithmetic.integer_matmul(a, b.T if flag(self, B_TRANSPOSED) else b)
        return np.add(c, product, dtype=np.int32) if flag(self, ACCUMULATE) else product
