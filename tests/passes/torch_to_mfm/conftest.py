"""Converts a torch function and compares what comes out with torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.exporting import export
from girih.compiler.importing import Importer
from girih.passes.base import Compilation, Pass
from girih.passes.convert_torch_to_mfm import FALLBACK, ConvertTorchToMfm
from girih.passes.interpreter import function_named, interpret


class Call(nn.Module):
    """A module that is a function, with the parts that it calls."""

    def __init__(self, function: Callable[..., Any], parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.parts)


@dataclass
class Converted:
    """What a function has become."""

    names: Counter[str] = field(default_factory=Counter[str])
    """Operations but for weights and the return, without ``mfm.``; of `unary`, its function."""
    reasons: list[str] = field(default_factory=list[str])
    text: str = ""


@dataclass(frozen=True)
class Convert:
    """``convert(function, inputs, parts, passes)`` checks against torch; says what it saw."""

    tolerance: float = 1e-5

    def __call__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[torch.Tensor],
        parts: Sequence[nn.Module] = (),
        passes: Sequence[Pass] = (),
    ) -> Converted:
        module = Call(function, parts).eval()
        with torch.no_grad():
            expected = module(*inputs)
        result = Converted()
        with create_context(), ir.Location.unknown():
            built = ir.Module.create()
            importer = Importer(built)
            importer.import_entry("main", export(module, tuple(inputs)).program)
            compilation = Compilation(importer.parameters)
            for each in (ConvertTorchToMfm(), *passes):
                each.run(built, compilation)
                assert built.operation.verify()
            main = function_named(built, "main")
            for op in main.entry_block.operations:
                attributes = op.operation.attributes
                name = op.operation.name.removeprefix("mfm.")
                if FALLBACK in attributes:
                    result.reasons.append(attributes[FALLBACK].value)
                if name in ("unary", "binary"):
                    name = attributes["function"].value
                if name not in ("parameter", "func.return"):
                    result.names[name] += 1
            result.text = str(built)
            found = interpret(main, [value.numpy() for value in inputs], compilation.parameters)
        several = expected if isinstance(expected, tuple) else (expected,)
        for array, tensor in zip(found, several, strict=True):
            assert array.dtype == tensor.numpy().dtype
            np.testing.assert_allclose(
                array, tensor.numpy(), rtol=self.tolerance, atol=self.tolerance
            )
        return result


@pytest.fixture(scope="session")
def convert() -> Convert:
    return Convert()
