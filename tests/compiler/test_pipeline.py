"""The pass runner: errors of MLIR become one sentence; dumps are numbered."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.pipeline import Dump, run_passes
from girih.passes.base import Compilation
from girih.passes.simplify import Simplify
from girih.runtime.errors import CompilationError

ADD = """func.func @f(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = "mfm.add"(%x, %x) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}"""


class Break:
    """A pass that leaves a result of the wrong type behind."""

    name = "break"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        op = module.body.operations[0].entry_block.operations[0]
        source = ir.Location.file("/somewhere/model.py", 3, 0)
        with ir.InsertionPoint(op), ir.Location.name("encoder.fc1", source):
            kind = ir.RankedTensorType.get([3], ir.F32Type.get())
            ir.Operation.create("mfm.add", [kind], list(op.operands))


def test_errors_name_the_layer_and_not_the_files_of_packages() -> None:
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(ADD)
        with pytest.raises(CompilationError) as refused:
            run_passes(module, [Break()], Compilation())
    message = str(refused.value)
    assert message.startswith('break: "encoder.fc1": ')
    assert "model.py" not in message
    assert "\n" not in message


def test_dumps_are_numbered_by_pass(tmp_path: Path) -> None:
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(ADD)
        run_passes(module, [Simplify(), Simplify()], Compilation(), Dump(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00-simplify.mlir",
        "01-simplify.mlir",
    ]
