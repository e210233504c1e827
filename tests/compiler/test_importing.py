"""Import: nothing decomposed, weights beside the IR and shared by their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.exporting import export
from girih.compiler.importing import Importer
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import ConvertTorchToMfm
from girih.passes.interpreter import function_named, interpret
from girih.passes.locations import source_line
from girih.runtime.errors import GirihError, ImportingError


class Tied(nn.Module):
    """A table that is read by an embedding and by a linear."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(tokens))


class Encoder(nn.Module):
    """Another entry over the same table."""

    def __init__(self, tied: Tied) -> None:
        super().__init__()
        self.model = tied
        self.register_buffer("offset", torch.arange(4, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x + self.offset, self.model.table.weight)


class Add(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def imported(**entries: Any) -> tuple[ir.Module, Importer]:
    with create_context(), ir.Location.unknown():
        module = ir.Module.create()
        importer = Importer(module)
        for name, (each, inputs) in entries.items():
            importer.import_entry(name, export(each, inputs).program)
        assert module.operation.verify()
    return module, importer


def names_of(module: ir.Module, entry: str) -> list[str]:
    return [op.operation.name for op in function_named(module, entry).entry_block.operations]


def test_operations_stay_whole() -> None:
    """Nothing is decomposed: linear, layer_norm and gelu arrive as themselves."""
    layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU())
    module, _ = imported(main=(layers, [torch.zeros(2, 4)]))
    names = [name for name in names_of(module, "main") if name.startswith("torch.aten")]
    assert names == ["torch.aten.linear", "torch.aten.layer_norm", "torch.aten.gelu"]


def test_a_tied_weight_is_one_parameter() -> None:
    tied = Tied()
    _, importer = imported(main=(tied, [torch.tensor([1, 2])]))
    assert len(importer.parameters) == 1


def test_entries_share_weights() -> None:
    """One parameter for the table in both entries, whatever each calls it; buffers count too."""
    tied = Tied()
    module, importer = imported(
        decode=(tied, [torch.tensor([1, 2])]), encode=(Encoder(tied), [torch.zeros(3, 4)])
    )
    shapes = sorted(array.shape for array in importer.parameters.values())
    assert shapes == [(4,), (11, 4)]
    mentioned = {
        op.parameter.value
        for entry in ("decode", "encode")
        for op in function_named(module, entry).entry_block.operations
        if op.operation.name == "mfm.parameter"
    }
    assert mentioned == set(importer.parameters)


def test_equal_names_of_different_weights_are_told_apart() -> None:
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    inputs = [torch.zeros(2, 4)]
    _, importer = imported(one=(first, inputs), two=(second, inputs))
    assert sorted(importer.parameters) == ["bias", "bias.2", "weight", "weight.2"]


def test_weights_are_not_copied_and_not_in_the_ir() -> None:
    layer = nn.Linear(64, 64)
    module, importer = imported(main=(layer, [torch.zeros(2, 64)]))
    assert np.shares_memory(importer.parameters["weight"], layer.weight.detach().numpy())
    assert len(str(module)) < 2000


def test_a_tensor_passed_twice_stays_two_arguments() -> None:
    """torch.export would make one input of them; callers pass one zeros tensor for every cache."""
    same = torch.zeros(3)
    module, importer = imported(main=(Add(), [same, same]))
    function = function_named(module, "main")
    assert len(function.entry_block.arguments) == 2
    with module.context, ir.Location.unknown():
        ConvertTorchToMfm().run(module, Compilation(importer.parameters))
        arrays = [np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)]
        (found,) = interpret(function, arrays, importer.parameters)
    assert found.tolist() == [11, 22, 33]


def test_an_exported_program_is_taken_as_it_is() -> None:
    program = torch.export.export(nn.Linear(4, 3), (torch.zeros(2, 4),))
    module, _ = imported(main=(program, []))
    assert "torch.aten.linear" in names_of(module, "main")


def test_bfloat16_weights_become_float32() -> None:
    """NumPy has no bfloat16, and float32 holds each of its values."""
    layer = nn.Linear(4, 3, bias=False).bfloat16()
    with create_context(), ir.Location.unknown():
        importer = Importer(ir.Module.create())
        name = importer.name_of(layer.weight, "weight")
    expected = layer.weight.detach().float().numpy()
    np.testing.assert_array_equal(importer.parameters[name], expected)


def test_what_cannot_be_traced_is_refused_in_one_sentence() -> None:
    with pytest.raises(ImportingError, match="torch.export cannot trace Branch: ") as caught:
        export(Branch(), [torch.zeros(3)])
    assert isinstance(caught.value, GirihError)
    assert "\n" not in str(caught.value)


def test_wrong_inputs_are_refused_in_one_sentence() -> None:
    with pytest.raises(ImportingError, match="Linear does not run on its example inputs: "):
        export(nn.Linear(4, 3), [torch.zeros(2, 5)])


def test_operations_are_located_by_module_and_line() -> None:
    """The report names layers as the model does, and errors name the user's own line."""
    module, _ = imported(main=(nn.Sequential(nn.Linear(4, 4), nn.GELU()), [torch.zeros(2, 4)]))
    ops = function_named(module, "main").entry_block.operations
    named = {op.operation.name: op.location for op in ops}
    assert named["torch.aten.linear"].name_str.endswith("0")
    assert named["torch.aten.gelu"].name_str.endswith("1")
    module, _ = imported(main=(Add(), [torch.zeros(2), torch.zeros(2)]))
    ops = function_named(module, "main").entry_block.operations
    (add,) = [op for op in ops if op.operation.name == "torch.aten.add.Tensor"]
    file, _, line = source_line(add.location).rpartition(":")
    assert file.endswith("test_importing.py")
    assert int(line) > 1
