"""What stayed in torch --> linalg, by torch-mlir's own lowering."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from girih.passes.advice import way_out
from girih.passes.base import Compilation
from girih.passes.locations import frame_text, model_frame, source_line
from girih.runtime.errors import CompilationError

# torch-mlir's own pipeline to linalg ends in a contract check that no other dialect passes; its
# single passes work on mixed modules.
_PIPELINE = (
    "builtin.module("
    "func.func(torch-recompose-complex-ops,torch-decompose-complex-ops,canonicalize,"
    "convert-torch-to-tmtensor,convert-torch-to-linalg,canonicalize,"
    "convert-torch-to-scf,convert-torch-to-arith,convert-torch-to-tensor),"
    "torch-func-backend-type-conversion,"
    "func.func(canonicalize,torch-finalizing-backend-type-conversion))"
)


@dataclass(frozen=True)
class LowerTorchFallback:
    """Lower the torch operations that `convert-torch-to-mfm` left, casts included.

    ```
    %0 = torch_c.from_builtin_tensor %x  %1 = torch.aten.softplus %0 ...  torch_c.to_builtin_tensor
    -->
    %1 = linalg.generic ...
    ```
    Modules without torch operations are left alone. An operation that torch-mlir cannot lower
    either is refused by name.
    """

    name: ClassVar[str] = "lower-torch-fallback"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite the module; raise `CompilationError` naming what has no lowering."""
        if not _torch_operations(module):
            return
        try:
            PassManager.parse(_PIPELINE, module.context).run(module.operation)
        except ir.MLIRError as error:
            raise CompilationError(_explain(module, str(error))) from error
        left = _torch_operations(module)
        if left:
            raise CompilationError(_refusal(_name(left[0]), source_line(left[0].location)))


def _torch_operations(module: ir.Module) -> list[ir.OpView]:
    return [
        op
        for function in module.body.operations
        for region in function.regions
        for block in region.blocks
        for op in block.operations
        if op.operation.name.startswith("torch")
    ]


def _name(op: ir.OpView) -> str:
    """Name of an operation, as torch has it where torch-mlir does not know it."""
    if op.operation.name == "torch.operator":
        return op.operation.attributes["name"].value
    return op.operation.name


def _explain(module: ir.Module, text: str) -> str:
    """Name the operation that stopped the lowering, and the model's line."""
    lines = [line.split("error: ", 1)[1] for line in text.splitlines() if "error: " in line]
    line = next(iter(lines), text)
    frames = re.findall(r'"([^"]+\.py)":(\d+)', line.partition(": failed to")[0])
    where = frame_text(model_frame([(file, int(number)) for file, number in frames]))
    found = re.search(r"failed to legalize operation '([\w.]+)'", line)
    opaque = re.search(r'"torch.operator"\(.*?name = "([^"]+)"', line)
    if opaque is not None:
        return _refusal(opaque.group(1), where)
    if found is not None and not found.group(1).startswith(_CONSTANTS):
        return _refusal(found.group(1), where)
    # The constants of an operation that stays are reported in its place.
    left = [op for op in _torch_operations(module) if not op.operation.name.startswith(_CONSTANTS)]
    left.sort(key=lambda op: op.operation.name != "torch.operator")
    if left:
        return _refusal(_name(left[0]), source_line(left[0].location))
    return f"torch-mlir cannot lower the fallback operations: {line[:200]}"


_CONSTANTS = ("torch.constant.", "torch.vtensor.literal", "torch.prim.", "torch_c.")


def _refusal(name: str, where: str) -> str:
    at = f" at {where}" if where else ""
    return f"{name}{at} has no lowering in girih or in torch-mlir: {way_out(name)}"
