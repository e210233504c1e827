"""Functions of the graph in PyTorch: their values, their gradients, what is put in their place."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.differentiable.function import TorchFunction, Weights
from girih.passes.interpreter import function_named, interpret

TEXT = """
func.func @f(%x: tensor<3x4xf32>) -> (tensor<3x2xf32>, tensor<3x2xi1>) {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<2x4xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
      : (tensor<3x4xf32>, tensor<2x4xf32>) -> tensor<3x2xf32>
  %1 = "mfm.gelu"(%0) {approximate = "none"} : (tensor<3x2xf32>) -> tensor<3x2xf32>
  %2 = "mfm.compare"(%1, %0) {predicate = "gt"}
      : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xi1>
  return %1, %2 : tensor<3x2xf32>, tensor<3x2xi1>
}
"""
X = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)


def read() -> tuple[ir.Module, TorchFunction]:
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        Calibrate().run(module, Compilation({"w": W}, calibration={"f": [[X]]}))
        return module, TorchFunction(function_named(module, "f"))


def test_values_are_those_of_the_reference() -> None:
    module, function = read()
    found = function([torch.from_numpy(X)], Weights({"w": W}))
    with module.context:
        expected = interpret(function_named(module, "f"), [X], {"w": W})
    np.testing.assert_allclose(found[0].numpy(), expected[0], rtol=1e-5, atol=1e-6)
    assert np.array_equal(found[1].numpy(), expected[1])
    assert function.parameters == {"w"}


def test_weights_have_gradients() -> None:
    _, function = read()
    weight = torch.from_numpy(W.copy()).requires_grad_()
    x = torch.from_numpy(X)
    # What only compares has none, and needs none.
    with torch.no_grad():
        function([x], {"w": weight})
    expected = torch.nn.functional.gelu(x @ weight.T).sum()
    (gradient,) = torch.autograd.grad(expected, weight)
    step = 1e-2 * torch.sign(gradient)
    with torch.no_grad():
        before = function([x], {"w": weight})[0].sum()
        after = function([x], {"w": weight + step})[0].sum()
    assert after > before


def test_what_is_put_in_a_values_place_is_what_others_read() -> None:
    _, function = read()
    seen: list[str] = []

    def replace(key: str, value: Any) -> Any:
        seen.append(key)
        return torch.zeros_like(value) if key == "f.1" else value

    found = function([torch.from_numpy(X)], Weights({"w": W}), replace)
    assert seen == ["f.1", "f.2", "f.3"]
    assert found[0].abs().max() == 0


def test_narrow_weights_are_widened_when_they_are_read() -> None:
    narrow = W.astype(ml_dtypes.bfloat16)
    weights = Weights({"w": narrow})
    assert weights["w"].dtype == torch.float32
    assert np.array_equal(weights["w"].numpy(), narrow.astype(np.float32))
