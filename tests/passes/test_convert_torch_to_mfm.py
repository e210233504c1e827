"""From torch to mfm: each operation that converts keeps its meaning, the others say why not."""

from __future__ import annotations

from collections import Counter
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
from girih.passes.convert_torch_to_mfm import FALLBACK, ConvertTorchToMfm
from girih.passes.interpreter import function_named, interpret
from girih.runtime.errors import CompilationError


class Call(nn.Module):
    """A module that is a function, with the parts that it calls."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.parts)


class Converted:
    """A module after the pass, what it computes, and what it is made of."""

    def __init__(self, module: nn.Module, *inputs: torch.Tensor) -> None:
        self.inputs = inputs
        self.expected = module.eval()(*inputs)
        with create_context(), ir.Location.unknown():
            self.module = ir.Module.create()
            importer = Importer(self.module)
            importer.import_entry("main", export(module, inputs).program)
            self.compilation = Compilation(importer.parameters)
            ConvertTorchToMfm().run(self.module, self.compilation)
            assert self.module.operation.verify()
        self.function = function_named(self.module, "main")
        self.operations = list(self.function.entry_block.operations)
        self.names = Counter(
            op.operation.name.removeprefix("mfm.")
            for op in self.operations
            if op.operation.name not in ("mfm.parameter", "func.return")
        )
        self.reasons = [
            op.operation.attributes[FALLBACK].value
            for op in self.operations
            if FALLBACK in op.operation.attributes
        ]

    def check(self, tolerance: float = 1e-5) -> None:
        """Compare the interpreter with torch."""
        arrays = [value.numpy() for value in self.inputs]
        found = interpret(self.function, arrays, self.compilation.parameters)
        expected = self.expected if isinstance(self.expected, tuple) else (self.expected,)
        for array, tensor in zip(found, expected, strict=True):
            np.testing.assert_allclose(
                array, tensor.detach().numpy(), rtol=tolerance, atol=tolerance
            )


def normal(*sizes: int) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes)))


CONVERTED = {
    "linear": (Call(lambda x, m: m(x), nn.Linear(6, 5)), [normal(2, 3, 6)], {"linear": 1}),
    "linear without bias": (
        Call(lambda x, m: m(x), nn.Linear(6, 5, bias=False)),
        [normal(3, 6)],
        {"linear": 1},
    ),
    # Channels last here, first there: a transpose on either side.
    "conv1d": (
        Call(lambda x, m: m(x), nn.Conv1d(4, 5, 3, stride=2, padding=1)),
        [normal(2, 4, 9)],
        {"conv1d": 1, "transpose": 2},
    ),
    "layer_norm": (Call(lambda x, m: m(x), nn.LayerNorm(6)), [normal(3, 6)], {"layer_norm": 1}),
    # Scale and shift that are not there are weights of ones and zeros.
    "plain layer_norm": (
        Call(lambda x: F.layer_norm(x, (6,))),
        [normal(3, 6)],
        {"layer_norm": 1},
    ),
    "gelu": (Call(F.gelu), [normal(3, 6)], {"gelu": 1}),
    "gelu by tanh": (
        Call(lambda x: F.gelu(x, approximate="tanh")),
        [normal(3, 6)],
        {"gelu": 1},
    ),
    "attention": (
        Call(F.scaled_dot_product_attention),
        [normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 4)],
        {"attention": 1, "transpose": 4},
    ),
    "causal attention": (
        Call(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.7)),
        [normal(1, 2, 5, 4)],
        {"attention": 1, "transpose": 4},
    ),
    "masked attention": (
        Call(lambda x, m: F.scaled_dot_product_attention(x, x, x, attn_mask=m)),
        [normal(1, 2, 5, 4), torch.ones(5, 5).tril().bool()],
        {"attention": 1, "transpose": 4},
    ),
    "add": (Call(lambda x, y: x + y), [normal(3, 6), normal(6)], {"add": 1}),
    # A broadcast over unit axes only is a reshape, so that the shapes are equal.
    "add of unit axes": (
        Call(lambda x, y: x + y),
        [normal(1, 1, 6), normal(6)],
        {"add": 1, "reshape": 1},
    ),
    "multiplication by a number": (Call(lambda x: x * 0.5), [normal(3)], {"multiply_scalar": 1}),
    "comparison": (
        Call(lambda x, y: (x < y, x == y)),
        [torch.arange(5), torch.tensor([2])],
        {"compare": 2},
    ),
    "shapes": (
        Call(lambda x: x.reshape(6, 4).unsqueeze(0).flatten(0, 1).view(2, 12)),
        [normal(4, 6)],
        {"reshape": 4},
    ),
    "transpose": (Call(lambda x: x.transpose(-1, 0)), [normal(2, 3, 4)], {"transpose": 1}),
    "permute": (Call(lambda x: x.permute(2, 0, -2)), [normal(2, 3, 4)], {"transpose": 1}),
    "t": (Call(lambda x: x.t()), [normal(3, 4)], {"transpose": 1}),
    "slice": (Call(lambda x: x[:, 1:-1:2]), [normal(3, 8)], {"slice": 1}),
    "slice from the end": (Call(lambda x: x[-2:]), [normal(3, 8)], {"slice": 1}),
    "slice of everything": (Call(lambda x: x[:, :99]), [normal(3, 8)], {}),
    "select": (Call(lambda x: x[:, -1]), [normal(3, 8)], {"slice": 1, "reshape": 1}),
    "embedding": (
        Call(lambda t, m: m(t), nn.Embedding(9, 4)),
        [torch.tensor([[0, 8, 3]])],
        {"embedding": 1},
    ),
    "positions": (
        Call(lambda x, m: x + m(torch.arange(2, 5)), nn.Embedding(9, 4)),
        [normal(3, 4)],
        {"embedding": 1, "add": 1},
    ),
    "cache": (
        Call(lambda c, p, r: c.index_copy(1, p, r)),
        [normal(1, 5, 3), torch.tensor([4]), normal(1, 1, 3)],
        {"cache_update": 1},
    ),
    "grouped heads": (
        Call(lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True)),
        [normal(1, 4, 3, 4), normal(1, 2, 3, 4)],
        {"attention": 1, "transpose": 4},
    ),
    "additive mask": (
        Call(lambda x, m: F.scaled_dot_product_attention(x, x, x, attn_mask=m)),
        [normal(1, 2, 5, 4), normal(5, 5)],
        {"attention": 1, "transpose": 4},
    ),
    "scaled addition": (
        Call(lambda x, y: torch.add(x, y, alpha=2)),
        [normal(3), normal(3)],
        {"binary": 1, "add": 1},
    ),
    "copies": (Call(lambda x: x.expand(3, 4)), [normal(1, 4)], {"broadcast": 1}),
    "rows along another axis": (
        Call(lambda c, p, r: c.index_copy(0, p, r)),
        [normal(5, 3), torch.tensor([4]), normal(1, 3)],
        {"scatter_rows": 1},
    ),
    # What a model in evaluation does not do.
    "dropout and copies": (
        Call(lambda x, m: m(x).clone().contiguous().detach(), nn.Dropout(0.5)),
        [normal(3)],
        {},
    ),
}


@pytest.mark.parametrize("case", CONVERTED)
def test_it_converts_and_keeps_its_meaning(case: str) -> None:
    module, inputs, names = CONVERTED[case]
    converted = Converted(module, *inputs)
    assert converted.names == Counter(names)
    assert converted.reasons == []
    converted.check()


KEPT = {
    "unknown": (Call(torch.atan), [normal(3)], "torch.aten.atan has no mfm form"),
    "two axes": (
        Call(lambda x, m: m(x), nn.LayerNorm((3, 4))),
        [normal(2, 3, 4)],
        "only the last axis can be normalized",
    ),
    "double": (
        Call(lambda x: F.gelu(x)),
        [normal(3).double()],
        "element type f64 has no mfm form",
    ),
    "weight of an operation": (
        Call(lambda x, w: F.conv1d(x, w)),
        [normal(1, 4, 9), normal(5, 4, 3)],
        "a weight is computed at run time",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_it_stays_in_torch_says_why_and_still_runs(case: str) -> None:
    module, inputs, reason = KEPT[case]
    converted = Converted(module, *inputs)
    assert converted.reasons == [reason]
    converted.check()


def test_a_model_with_an_unknown_operation_in_its_middle() -> None:
    """Only that operation stays; casts join it to the rest."""
    module = Call(lambda x, a, b: b(a(x).atan()), nn.Linear(6, 5), nn.Linear(5, 4))
    converted = Converted(module, normal(3, 6))
    assert converted.names == Counter(
        {
            "linear": 2,
            "torch_c.to_builtin_tensor": 1,
            "torch.aten.atan": 1,
            "torch_c.from_builtin_tensor": 1,
        }
    )
    converted.check()


def test_several_results_and_results_that_are_arguments() -> None:
    converted = Converted(Call(lambda x, y: (y, x + y, x)), normal(3), normal(3) + 1)
    assert converted.names == Counter({"add": 1})
    converted.check()


def test_a_derived_weight_is_made_once() -> None:
    """Two uses of one convolution share the weight in its other layout."""
    module = Call(lambda x, m: m(x) + m(x + 1), nn.Conv1d(4, 4, 3))
    converted = Converted(module, normal(1, 4, 5))
    names = list(converted.compilation.parameters)
    assert sum(name.endswith(".tap_major") for name in names) == 1
    converted.check()


@pytest.mark.parametrize("other", [3, None])
def test_results_that_are_not_tensors_are_left_out(other: Any) -> None:
    converted = Converted(Call(lambda x: (x + x, other)), normal(3))
    assert converted.names == Counter({"add": 1})
    assert len(converted.operations[-1].operands) == 1


def test_what_is_no_tensor_of_static_shape_is_refused_at_the_door() -> None:
    with create_context():
        module = ir.Module.parse(
            "func.func @main(%x: !torch.int) -> !torch.int { return %x : !torch.int }"
        )
        with pytest.raises(CompilationError, match="entry 'main' must take and return tensors"):
            ConvertTorchToMfm().run(module, Compilation())
