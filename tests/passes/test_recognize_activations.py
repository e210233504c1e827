"""Activations written out become the operation that they are, whatever way they are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.exporting import export
from girih.compiler.importing import Importer
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import ConvertTorchToMfm
from girih.passes.fold_constants import FoldConstants
from girih.passes.interpreter import function_named, interpret
from girih.passes.recognize_activations import RecognizeActivations

X = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * 4


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def recognized(function: Callable[..., Any], *inputs: torch.Tensor) -> list[str]:
    """Operations after the pass, functions by name; checked against torch."""
    module = Call(function)
    with create_context(), ir.Location.unknown():
        built = ir.Module.create()
        importer = Importer(built)
        importer.import_entry("main", export(module, inputs).program)
        compilation = Compilation(importer.parameters)
        for each in (ConvertTorchToMfm(), FoldConstants(), RecognizeActivations()):
            each.run(built, compilation)
            assert built.operation.verify()
        main = function_named(built, "main")
        (found,) = interpret(main, [x.numpy() for x in inputs], compilation.parameters)
    np.testing.assert_allclose(found, module(*inputs).numpy(), rtol=5e-6, atol=5e-6)
    names = list[str]()
    for op in main.entry_block.operations:
        attributes = op.operation.attributes
        label = [attributes[key].value for key in ("function", "approximate") if key in attributes]
        names.append(label[0] if label else op.operation.name.removeprefix("mfm."))
    return [name for name in names if name not in ("parameter", "func.return")]


WRITTEN: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "quick_gelu": (lambda x: x * torch.sigmoid(1.702 * x), "quick_gelu"),
    "silu": (lambda x: torch.sigmoid(x) * x, "silu"),
    "silu by exp": (lambda x: x / (1 + torch.exp(-x)), "silu"),
    "sigmoid": (lambda x: 1 / (1 + torch.exp(-x)), "sigmoid"),
    "gelu by tanh": (
        lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3)))),
        "tanh",
    ),
    "fast gelu": (
        lambda x: 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
        "tanh",
    ),
    "gelu by erf": (lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), "none"),
    "hard_swish": (lambda x: x * F.relu6(x + 3) / 6, "hard_swish"),
    "hard_sigmoid": (lambda x: torch.clamp(x / 6 + 0.5, 0, 1), "hard_sigmoid"),
    "relu": (lambda x: x.clamp(min=0), "relu"),
    "relu by choice": (lambda x: torch.where(x > 0, x, torch.zeros_like(x)), "relu"),
    "elu": (lambda x: torch.where(x > 0, x, torch.exp(x) - 1), "elu"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_it_is_recognized(case: str) -> None:
    function, name = WRITTEN[case]
    assert recognized(function, X) == [name]


def test_of_what_it_is_scaled_by() -> None:
    """The farthest value of which the rest is an activation is its operand."""
    assert recognized(lambda x: F.silu(0.3 * x) * 0.3 + 0, X)[:2] == ["multiply_scalar", "silu"]

    def scaled(x: torch.Tensor) -> torch.Tensor:
        y = 0.3 * x
        return y * torch.sigmoid(y)

    assert recognized(scaled, X) == ["multiply_scalar", "silu"]


OTHERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "another factor": lambda x: x * torch.sigmoid(1.7 * x),
    "a shift": lambda x: x * torch.sigmoid(x + 1e-4),
    "a gate": lambda x: x[:, :25] * torch.sigmoid(x[:, 25:]),
    "almost gelu": lambda x: 0.5 * x * (1 + torch.tanh(0.797724 * (x + 0.044715 * x.pow(3)))),
    "a product": lambda x: x * x,
    "another limit": lambda x: x.clamp(min=1e-3),
}


@pytest.mark.parametrize("case", OTHERS)
def test_something_else_stays(case: str) -> None:
    known = {"silu", "quick_gelu", "relu", "none"}
    found = recognized(OTHERS[case], X)
    assert not known & set(found)
    assert len(found) > 1 or found == ["multiply"] or found == ["maximum"]
