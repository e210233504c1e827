"""Weights that a model makes from others, as weight normalization does, known when converting."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import Operation, ParameterOp
from girih.dialects.mfm.parameter import narrowed, widened
from girih.passes.torch_to_mfm.rewriter import (
    FROM_BUILTIN,
    TO_BUILTIN,
    NotConvertibleError,
    Rewriter,
)


def known(rewriter: Rewriter, value: ir.Value) -> ir.Value:
    """The value as one weight, computed now from those that it is made of.

    Raises `NotConvertibleError` where it depends on the inputs.
    """
    if not isinstance(value.owner, ir.Block) and isinstance(value.owner.opview, ParameterOp):
        return value
    memory: dict[ir.Value, NDArray[Any]] = {}
    names = list[str]()
    array = _evaluated(rewriter, value, memory, names)
    parameters = rewriter.compilation.parameters
    name = f"{names[0]}.computed"
    while name in parameters:
        name += "_"
    return rewriter.parameter(name, narrowed(array, parameters[names[0]]), value.type.element_type)


def _evaluated(
    rewriter: Rewriter, value: ir.Value, memory: dict[ir.Value, NDArray[Any]], names: list[str]
) -> NDArray[Any]:
    if value in memory:
        return memory[value]
    if isinstance(value.owner, ir.Block):
        raise NotConvertibleError("a weight is computed at run time")
    op = value.owner.opview
    if isinstance(op, ParameterOp):
        names.append(op.parameter.value)
        memory[value] = widened(rewriter.compilation.parameters[op.parameter.value])
    elif op.operation.name in (FROM_BUILTIN, TO_BUILTIN):
        memory[value] = _evaluated(rewriter, op.operands[0], memory, names)
    elif isinstance(op, Operation):
        sources = [_evaluated(rewriter, operand, memory, names) for operand in op.operands]
        memory[value] = op.reference(*sources)
    else:
        raise NotConvertibleError("a weight is computed at run time")
    return memory[value]
