"""Weights stored in 16 bits are read as they are stored, and widened where they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ml_dtypes import bfloat16
from torch_mlir import ir
from torch_mlir.dialects import arith

from girih.dialects.mfm import EmbeddingOp, LinearOp, ParameterOp
from girih.dialects.mfm.base import element, is_narrow, shape
from girih.passes.base import Compilation
from girih.passes.functions import functions_of


@dataclass(frozen=True)
class WidenParameters:
    """Make the conversion that an f32 parameter in narrow storage implies explicit.

    ```
    %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xf32>      (the archive has f16)
    -->
    %0 = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xf16>
    %w = arith.extf %0 : tensor<8x4xf16> to tensor<8x4xf32>
    ```
    Two readers take the weight as it is, since IREE makes an f32 copy of what it extends ahead of
    them: a linear's products extend element by element, and a lookup, which needs a few rows of
    its table, extends its result.
    """

    name: ClassVar[str] = "widen-parameters"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function of the module."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                if isinstance(op, ParameterOp):
                    _widen(op, compilation)


def _widen(op: ParameterOp, compilation: Compilation) -> None:
    array = compilation.parameters.get(op.parameter.value)
    if array is None or not is_narrow(array.dtype) or element(op.result) != "f32":
        return
    kind = ir.BF16Type.get() if array.dtype == bfloat16 else ir.F16Type.get()
    with ir.InsertionPoint(op), op.location:
        stored = ParameterOp(parameter=op.parameter, result=_tensor(op.result, kind)).result
    for use in list(op.result.uses):
        user = use.owner.operation.opview
        if isinstance(user, LinearOp) and user.weight == op.result and user.x != op.result:
            user.operation.operands[use.operand_number] = stored
        elif isinstance(user, EmbeddingOp) and user.table == op.result:
            with ir.InsertionPoint(user), user.location:
                rows = EmbeddingOp(
                    indices=user.indices, table=stored, result=_tensor(user.result, kind)
                )
                wide = arith.ExtFOp(user.result.type, rows.result).result
            user.result.replace_all_uses_with(wide)
            user.operation.erase()
    if any(True for _ in op.result.uses):
        with ir.InsertionPoint(op), op.location:
            op.result.replace_all_uses_with(arith.ExtFOp(op.result.type, stored).result)
    op.operation.erase()


def _tensor(value: ir.Value, kind: ir.Type) -> Any:
    return ir.RankedTensorType.get(list(shape(value)), kind)
