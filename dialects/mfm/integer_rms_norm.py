"""Quantized root-mean-square normalization over the last axis."""

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
from girih.dialects.mfm.normalization import MAXIMUM_WIDTH


class IntegerRmsNormOp(Operation, name="integer_rms_norm", traits=[ext.Pure]):
    """Integer-only RMS norm (Zhang and Sennrich 2019): integer_layer_norm with mean and beta 0.

    x (..., C) i16, parameters (1, C) i32: gamma; result as x, i8 or i16. epsilon in squared
    sixteenths of x's unit; shift for all channels. docs/numerics.md, integer_rms_norm.
    """

    x: ext.Operand[Any]
    parameters: ext.Operand[Any]
    result: ext.Result[Any]
    epsilon: ir.IntegerAttr
    shift: ir.IntegerAttr

    least_axes = {"x": 1}

    def check(self) -> Iterator[str]:
        width = shape(self.x)[-1]
        yield from expect_element("x", self.x, "i16")
        yield from expect_element("parameters", self.parameters, "i32")
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shape("parameters", self.parameters, (1, width))
        yield from expect_shape("result", self.result, shape(self.x))
        yield from expect_shift("shift", self.shift.value)
        if width > MAXIMUM_WIDTH:
            yield f"normalizes {width} channels, expected at most {MAXIMUM_WIDTH}"
        if not 1 <= self.epsilon.value < 1 << 40:
            yield f"epsilon is {self.epsilon.value}, expected 1 to 2^40"

    def reference(self, *inputs: Array) -> Array:
        x, gamma = inputs[0].astype(np.int64), inputs[1][0].astype(np.int64)
        epsilon, shift = self.epsilon.value, self.shift.value
        return arithmetic.rms_norm(x, gamma, epsilon, shift, numpy_dtype(self.result))
