"""What stayed in torch --> linalg, by torch-mlir's own lowering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.passmanager import PassManager

from girih.passes.base import Compilation
from girih.runtime.errors import CompilationError

# torch-mlir's own pipeline to linalg ends in a contract check that no other dialect passes; its
# single passes work on mixed modules.
_PIPELINE = (
    "builtin.module("
    "func.func(torch-decompose-complex-ops,canonicalize,"
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
            raise CompilationError(f"{left[0]} has no lowering in girih or in torch-mlir")


def _torch_operations(module: ir.Module) -> list[str]:
    names: list[str] = []
    for function in module.body.operations:
        for region in function.regions:
            for block in region.blocks:
                for op in block.operations:
                    if op.operation.name.startswith("torch"):
                        names.append(op.operation.name)
    return names


def _explain(module: ir.Module, text: str) -> str:
    lines = [line.split("error: ", 1)[1] for line in text.splitlines() if "error: " in line]
    return lines[0] if lines else f"torch-mlir cannot lower the fallback operations: {text[:200]}"
