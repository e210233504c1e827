"""A scalar factor on queries or keys --> the attention's own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from girih.dialects.mfm import AttentionOp, MultiplyScalarOp, ReshapeOp, TransposeOp
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of


@dataclass(frozen=True)
class FoldAttentionScale:
    """Move scalar factors out of the query and the key into the scale.

    ```
    attention(reshape(x * f), key, value, scale = s)  -->  attention(reshape(x), ..., scale = s f)
    ```
    The factor then costs nothing: on integers it is part of the score's rescale.
    """

    name: ClassVar[str] = "fold-attention-scale"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every attention of the module."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                if isinstance(op, AttentionOp):
                    _fold(op)
            erase_unused(function.entry_block)


def _fold(op: AttentionOp) -> None:
    for index in (0, 1):
        user, operand = op.operation, index
        while True:
            owner = user.operands[operand].owner
            if isinstance(owner, ir.Block) or len(list(owner.results[0].uses)) != 1:
                break
            view = owner.opview
            if isinstance(view, MultiplyScalarOp):
                scale = op.scale.value * view.factor.value
                op.operation.attributes["scale"] = ir.FloatAttr.get(op.scale.type, scale)
                user.operands[operand] = view.x
                break
            if not isinstance(view, ReshapeOp | TransposeOp):
                break
            user, operand = owner, 0
