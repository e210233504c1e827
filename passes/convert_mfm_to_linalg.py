"""Pass `convert-mfm-to-linalg`: from the graph level to loops that IREE compiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch_mlir import ir

from girih.passes.base import Compilation
from girih.passes.mfm_to_linalg import Globals, Lowering, lowerings
from girih.runtime.errors import GirihError

PROGRAM_NAME = "program"
"""Symbol of the module: IREE then calls a function ``program.<name>``."""


@dataclass(frozen=True)
class ConvertMfmToLinalg:
    """Replace every `mfm` operation by func, arith, math, tensor and linalg operations.

    Weights become IREE globals that read the parameter archive (scope ``girih``). Integer
    operations keep the bits of their `reference()`. Operations of other dialects stay.

    `tile_rows` and `tile_depth` are the tile of IREE's kernel for products of bytes on the CPU to
    compile for: 16 x 2 with AVX-512, 8 x 2 with AVX2, 8 x 4 with Arm's dot product. They matter
    for speed alone.
    """

    name: ClassVar[str] = "convert-mfm-to-linalg"
    tile_rows: int = 16
    tile_depth: int = 2

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite the module in place."""
        with module.context:
            # IREE's `util.global` has no definition on this side.
            module.context.allow_unregistered_dialects = True
            module.operation.attributes["sym_name"] = ir.StringAttr.get(PROGRAM_NAME)
            parameters = Globals(module)
            table = lowerings((self.tile_rows, self.tile_depth))
            for op in list(_mfm_operations(module.operation)):
                _replace(op, parameters, table)


def _mfm_operations(root: Any) -> Iterator[Any]:
    for region in root.regions:
        for block in region.blocks:
            for op in block.operations:
                yield from _mfm_operations(op.operation)
                if op.operation.name.startswith("mfm."):
                    yield op


def _replace(op: Any, parameters: Globals, table: Mapping[str, Lowering]) -> None:
    operation = op.operation
    with ir.InsertionPoint(operation), operation.location:
        if operation.name == "mfm.parameter":
            value = parameters.load(op.parameter.value, op.result.type)
        else:
            lowering = table.get(operation.name)
            if lowering is None:
                raise GirihError(
                    f"{operation.location}: {operation.name!r} has no lowering to linalg"
                )
            value = lowering(op)
    operation.results[0].replace_all_uses_with(value)
    operation.erase()
