"""Normalizations over the last axis."""

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

MAXIMUM_WIDTH = 65536


class LayerNormOp(Operation, name="layer_norm", traits=[ext.Pure]):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` over the last axis.

    x (..., C) f32, gamma (C) f32, beta (C) f32; result as x. Ba et al. 2016.
    """

    x: ext.Operand[Any]
    gamma: ext.Operand[Any]
    beta: ext.Operand[Any]
    result: ext.Result[Any]
    epsilon: ir.FloatAttr

    least_axes = {"x": 1}

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from expect_shape("gamma", self.gamma, shape(self.x)[-1:])
        yield from expect_shape("beta", self.beta, shape(self.x)[-1:])
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        x, gamma, beta = inputs
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centered).mean(axis=-1, keepdims=True)
        return centered / np.sqrt(variance + np.float32(self.epsilon.value)) * gamma + beta


class RmsNormOp(Operation, name="rms_norm", traits=[ext.Pure]):
    """``x / sqrt(mean(x^2) + epsilon) * gamma`` over the last axis.

    x (..., C) f32, gamma (C) f32; result as x. Zhang and Sennrich 2019.
    """

    x: ext.Operand[Any]
    gamma: ext.Operand[Any]
    result: ext.Result[Any]
    epsilon: ir.FloatAttr

    least_axes = {"x": 1}

    def check(self) -> Iterator[str]:
        yield from expect_element("x", self.x, "f32")
        yield from expect_element("gamma", self.gamma, "f32")
        yield from expect_shape("gamma", self.gamma, shape(self.x)[-1:])
        yield from expect_shape("result", self.result, shape(self.x))

    def reference(self, *inputs: Array) -> Array:
        x, gamma = inputs
        square = np.square(x).mean(axis=-1, keepdims=True)
        return x / np.sqrt(square + np.float32(self.epsilon.value)) * gamma


class IntegerLayerNormOp(Operation, name="integer_layer_norm", traits=[ext.Pure]):
    """Integer-only layer norm with an exact integer square root.

    x (..., C) i16, parameters (2, C) i32: gamma, beta; result as x, i8 or i16. epsilon in squared
    sixteenths of x's unit; shift for all channels. docs/numerics.md, integer_layer_norm.
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
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shape("parameters", self.parameters, (2, width))
        yield from expect_shape("result", self.result, shape(self.x))
        yield from expect_shift("shift", self.shift.value)
        if width > MAXIMUM_WIDTH:
            yield f"normalizes {width} channels, expected at most {MAXIMUM_WIDTH}"
        if not 1 <= self.epsilon.value < 1 << 40:
            yield f"epsilon is {self.epsilon.value}, expected 1 to 2^40"

    def reference(self, *inputs: Array) -> Array:
        x, (gamma, beta) = inputs[0].astype(np.int64), inputs[1].astype(np.int64)
        epsilon, shift = self.epsilon.value, self.shift.value
        return arithmetic.layer_norm(x, gamma, beta, epsilon, shift, numpy_dtype(self.result))
