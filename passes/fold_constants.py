"""Operations on weights alone --> weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import LinearOp, Operation, ParameterOp
from girih.dialects.mfm.base import shape
from girih.dialects.mfm.parameter import narrowed, widened
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of

_SMALL = 65536
"""Elements up to which a result may be larger than what it is made of."""


@dataclass(frozen=True)
class FoldConstants:
    """Evaluate, through `reference()`, what depends on weights only.

    ```
    %i = "mfm.parameter"() {parameter = "arange.0.1.1500"}
    %0 = "mfm.embedding"(%i, %table)
    -->
    %0 = "mfm.parameter"() {parameter = "table"}
    ```
    A result that is larger than all its operands together is left to run time, so that folding
    does not grow the program, unless it is small (a mask, positions, angles) or a product (position
    embeddings interpolated to a picture's size). A result equal to one of its operands becomes
    that operand.
    """

    name: ClassVar[str] = "fold-constants"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function of the module."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                _fold(op, compilation)
            erase_unused(function.entry_block)


def _size(value: ir.Value) -> int:
    return int(np.prod(shape(value), dtype=np.int64))


def _fold(op: ir.OpView, compilation: Compilation) -> None:
    if not isinstance(op, Operation) or isinstance(op, ParameterOp):
        return
    sources = [operand.owner for operand in op.operands]
    if any(isinstance(s, ir.Block) or not isinstance(s.opview, ParameterOp) for s in sources):
        return
    result = op.results[0]
    size, sources_size = _size(result), sum(_size(operand) for operand in op.operands)
    if size > max(sources_size, _SMALL) and not isinstance(op, LinearOp):
        return
    stored = [compilation.parameters[s.opview.parameter.value] for s in sources]
    arrays = [widened(array) for array in stored]
    folded = op.reference(*arrays)
    for operand, array in zip(op.operands, arrays, strict=True):
        if operand.type == result.type and np.array_equal(array, folded):
            result.replace_all_uses_with(operand)
            return
    name = f"{sources[-1].opview.parameter.value}.{op.operation.name.removeprefix('mfm.')}"
    while name in compilation.parameters:
        name += "_"
    compilation.parameters[name] = narrowed(folded, stored[-1])
    with ir.InsertionPoint(op), op.location:
        constant = ParameterOp(parameter=ir.StringAttr.get(name), result=result.type)
    result.replace_all_uses_with(constant.result)
