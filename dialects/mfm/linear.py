"""Products of activations and weights."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch_mlir.dialects import ext

from girih.dialects import arithmetic
from girih.dialects.mfm.base import (
    Array,
    Operation,
    expect_element,
    expect_shape,
    numpy_dtype,
    shape,
)

MAXIMUM_DEPTH = (1 << 16) - 1
"""Longest sum of int8 x int8 products that int32 holds together with a bias of up to 2^30.

And with the input's offset in the bias: `quantize` then leaves the bias itself less room, 2^23 at
this length.
"""


class LinearOp(Operation, name="linear", traits=[ext.Pure]):
    """``result = x @ weight.T + bias``.

    x (..., K) f32, weight (N, K) f32, bias (N) f32 or absent; result (..., N) f32. The pass
    `widen-parameters` makes the weight f16 or bf16, each element of which counts as an f32.
    """

    x: ext.Operand[Any]
    weight: ext.Operand[Any]
    result: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    least_axes = {"x": 1, "result": 1}

    def check(self) -> Iterator[str]:
        inputs, outputs = shape(self.x)[-1], shape(self.result)[-1]
        yield from expect_element("x", self.x, "f32")
        yield from expect_shape("weight", self.weight, (outputs, inputs))
        yield from expect_shape("result", self.result, (*shape(self.x)[:-1], outputs))
        if self.bias is not None:
            yield from expect_shape("bias", self.bias, (outputs,))

    def reference(self, *inputs: Array) -> Array:
        x, weight, *bias = inputs
        result = np.matmul(x, weight.T)
        return result + bias[0] if bias else result


class IntegerLinearOp(Operation, name="integer_linear", traits=[ext.Pure]):
    """Quantized linear: exact int32 sums, then bias and per-channel rescale.

    x (..., K) i8, weight (N, K) i8, parameters (3, N) i32: bias, multiplier, shift per output
    channel; result (..., N) i8 or i16. docs/numerics.md, integer_linear.
    """

    x: ext.Operand[Any]
    weight: ext.Operand[Any]
    parameters: ext.Operand[Any]
    result: ext.Result[Any]

    least_axes = {"x": 1, "result": 1}

    def check(self) -> Iterator[str]:
        inputs, outputs = shape(self.x)[-1], shape(self.result)[-1]
        yield from expect_element("x", self.x, "i8")
        yield from expect_element("weight", self.weight, "i8")
        yield from expect_element("parameters", self.parameters, "i32")
        yield from expect_element("result", self.result, "i8", "i16")
        yield from expect_shape("weight", self.weight, (outputs, inputs))
        yield from expect_shape("parameters", self.parameters, (3, outputs))
        yield from expect_shape("result", self.result, (*shape(self.x)[:-1], outputs))
        if inputs > MAXIMUM_DEPTH:
            yield f"sums {inputs} products, expected at most {MAXIMUM_DEPTH} to fit int32"

    def reference(self, *inputs: Array) -> Array:
        x, weight, parameters = inputs
        sums = arithmetic.integer_matmul(x, weight.T)
        bias, multiplier, shift = parameters
        return arithmetic.rescale(sums + bias, multiplier, shift, numpy_dtype(self.result))
