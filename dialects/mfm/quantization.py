"""Seams between float and integer, and between integer scales."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    expect_element,
    expect_shape,
    expect_shift,
    numpy_dtype,
    shape,
)


class QuantizeOp(Operation, name="quantize", traits=[ext.Pure]):
    """``clamp(round_half_even(x * inverse_scale))`` in f32; not-a-number gives 0.

    x (...) f32; result i8 or i16 as x. Runs on the host.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]
    inverse_scale: ir.FloatAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        dtype = numpy_dtype(self.result)
        limits = np.iinfo(dtype)
        scaled = np.rint(inputs[0] * np.float32(self.inverse_scale.value))
        return np.clip(np.nan_to_num(scaled, nan=0.0), limits.min, limits.max).astype(dtype)


class DequantizeOp(Operation, name="dequantize", traits=[ext.Pure]):
    """``float32(x) * scale``. x (...) i8 or i16; result f32. Runs on the host."""

    x: ext.Operand[Any]
    result: ext.Result[Any]
    scale: ir.FloatAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "i8", "i16")
        yield from expect_element("result", self.result, "f32")
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        return inputs[0].astype(np.float32) * np.float32(self.scale.value)


class RescaleOp(Operation, name="rescale", traits=[ext.Pure]):
    """From one integer scale to another: ``clamp((x * multiplier + half(shift)) >> shift)``.

    x (...) i8 or i16; result i8 or i16 as x. docs/numerics.md, rescale.
    """

    x: ext.Operand[Any]
    result: ext.Result[Any]
    multiplier: ir.IntegerAttr
    shift: ir.IntegerAttr

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "i8", "i16")
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shape("result", self.result, shape(self.x))
        yield from expect_shift("shift", self.shift.value)
        if not 0 <= self.multiplier.value < 1 << 31:
            yield f"multiplier is {self.multiplier.value}, expected 0 to 2^31 - 1"

    def reference(self, *inputs: Array) -> Array:
        return arithmetic.rescale(
            inputs[0], self.multiplier.value, self.shift.value, numpy_dtype(self.result)
        )
