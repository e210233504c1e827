"""Weights of 4 bits, as memory holds them."""

from collections.abc import Iterator
from typing import Any

from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import Array, Operation, expect_element, expect_shape, shape


class UnpackOp(Operation, name="unpack", traits=[ext.Pure]):
    """Weights of 4 bits with a scale for each group of 32 --> weights of 8 bits.

    x (N, 17 G) i8: of each group a scale, then 16 bytes of which byte i holds weight i in its low
    half and weight 16 + i in its high half; result (N, 32 G) i8, weight x scale, saturated.
    docs/numerics.md, unpack. Scales that are integers, so that products stay those of int8, are
    those of Dai et al. 2021 (VS-Quant) and Lin et al. 2024 (QServe).
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]

    least_axes = {"x": 2, "result": 2}

    def check(self) -> Iterator[str]:
        rows, columns = shape(self.result)
        yield from expect_element("x", self.x, "i8")
        yield from expect_element("result", self.result, "i8")
        if columns % arithmetic.GROUP:
            yield f"result has {columns} columns, expected whole groups of {arithmetic.GROUP}"
        else:
            yield from expect_shape("x", self.x, (rows, arithmetic.packed_columns(columns)))

    def reference(self, *inputs: Array) -> Array:
        return arithmetic.unpack_groups(inputs[0])
