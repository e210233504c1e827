"""The interpreter: `reference()` for mfm, torch itself for what stayed in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.exporting import export
from girih.compiler.importing import Importer
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import ConvertTorchToMfm
from girih.passes.interpreter import function_named, interpret
from girih.runtime.errors import CompilationError


class Call(torch.nn.Module):
    """A module that is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def run(function: Callable[..., Any], *inputs: torch.Tensor) -> list[Any]:
    with create_context(), ir.Location.unknown():
        module = ir.Module.create()
        importer = Importer(module)
        importer.import_entry("main", export(Call(function), inputs).program)
        ConvertTorchToMfm().run(module, Compilation(importer.parameters))
        assert module.operation.verify()
        arrays = [value.numpy() for value in inputs]
        return interpret(function_named(module, "main"), arrays, importer.parameters)


X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,  # nothing to compute
        lambda x: x.atan() + 1,  # an unknown operation, then a known one
        lambda x: x.max(dim=1),  # two results
        lambda x: x.topk(2),
        lambda x: x.split(2, dim=1),  # a list that is unpacked
        lambda x: x.unbind(0)[1],
        lambda x: x.split(6, dim=1),  # a list of one
        lambda x: x.sum(),  # arguments by keyword only
        lambda x: x.double() * 2,  # a cast
        lambda x: x + torch.ones(4, 6),  # a tensor made from nothing
        lambda x: x.expand(3, 4, 6),
        lambda x: torch.cat([x, x], 1),
        lambda x: torch.where(x > 0, x, -x),
        lambda x: (x + x, x),
    ],
)
def test_what_stays_in_torch_runs_in_torch(function: Callable[..., Any]) -> None:
    expected = function(X)
    expected = expected if isinstance(expected, list | tuple) else [expected]
    found = run(function, X)
    assert len(found) == len(expected)
    for array, tensor in zip(found, expected, strict=True):
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-6, atol=1e-6)


def test_integers_and_booleans_keep_their_type() -> None:
    tokens = torch.arange(5)
    assert run(lambda t: t + 1, tokens)[0].tolist() == [1, 2, 3, 4, 5]
    assert run(lambda t: t > 2, tokens)[0].tolist() == [False, False, False, True, True]


def parse(text: str) -> ir.Module:
    with create_context():
        return ir.Module.parse(text)


CHAIN = """
func.func @f(%x: tensor<3xf32>) -> tensor<3xf32> {
  %p = "mfm.parameter"() {parameter = "p"} : () -> tensor<3xf32>
  %0 = "mfm.add"(%x, %x) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  %1 = "mfm.add"(%0, %p) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %1 : tensor<3xf32>
}
"""


def test_a_value_with_two_uses_in_one_operation_is_dropped_once() -> None:
    module = parse(CHAIN)
    x, p = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)
    (found,) = interpret(function_named(module, "f"), [x], {"p": p})
    assert found.tolist() == [12, 24, 36]


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(CompilationError, match="no function @g in the module"):
        function_named(parse(CHAIN), "g")


def test_an_operation_that_nobody_knows_is_refused() -> None:
    module = parse(
        """func.func @f(%x: tensor<3xf32>) -> tensor<3xf32> {
          %0 = "other.op"(%x) : (tensor<3xf32>) -> tensor<3xf32>
          return %0 : tensor<3xf32>
        }"""
    )
    with pytest.raises(
        CompilationError, match=r"'other\.op' has no reference in NumPy or in torch"
    ):
        interpret(function_named(module, "f"), [np.zeros(3, np.float32)], {})
