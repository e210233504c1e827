"""Runs a graph-level function through `reference()`: the meaning of a compiled program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import Operation, ParameterOp
from girih.dialects.mfm.parameter import widened
from girih.runtime.errors import CompilationError

Array = NDArray[Any]


def function_named(module: ir.Module, name: str) -> func.FuncOp:
    """The function of that name in a module."""
    for op in module.body.operations:
        if isinstance(op, func.FuncOp) and op.name.value == name:
            return op
    raise CompilationError(f"no function @{name} in the module")


def interpret(
    function: func.FuncOp,
    inputs: Sequence[Array],
    parameters: Mapping[str, Array],
) -> list[Array]:
    """Run a function of `mfm` operations on NumPy arrays, one per argument.

    What stayed in torch runs in torch. Values are dropped after their last use, so memory stays
    that of the widest point of the graph.
    """
    block = function.entry_block
    values: dict[ir.Value, Any] = dict(zip(block.arguments, inputs, strict=True))
    remaining = {argument: len(list(argument.uses)) for argument in block.arguments}
    for op in block.operations:
        if isinstance(op, func.ReturnOp):
            return [values[operand] for operand in op.operands]
        if isinstance(op, ParameterOp):
            result = widened(parameters[op.parameter.value])
        elif isinstance(op, Operation):
            result = op.reference(*(values[operand] for operand in op.operands))
        else:
            result = run_in_torch(op, [values[operand] for operand in op.operands])
        results = [result] if len(op.results) == 1 else result
        for value, array in zip(op.results, results, strict=True):
            values[value] = array
            remaining[value] = len(list(value.uses))
        for operand in op.operands:
            remaining[operand] -= 1
            if remaining[operand] == 0:
                del values[operand]
    raise CompilationError(f"function @{function.name.value} does not return")


def run_in_torch(op: ir.OpView, operands: list[Any]) -> Any:
    """What an operation that stayed in torch computes of torch's values."""
    name = op.operation.name
    if name == "torch.operator":
        name = op.operation.attributes["name"].value
    match name:
        case "torch_c.from_builtin_tensor":
            return torch.from_numpy(np.array(operands[0]))
        case "torch_c.to_builtin_tensor":
            return operands[0].contiguous().numpy()
        case "torch.constant.none":
            return None
        case "torch.constant.bool":
            return bool(op.operation.attributes["value"].value)
        case "torch.constant.device":
            return torch.device("cpu")
        case "torch.prim.ListConstruct":
            return operands
        case "torch.prim.ListUnpack":
            return operands[0] if len(op.results) > 1 else operands[0][0]
        case _:
            pass
    if name.startswith("torch.constant."):
        return op.operation.attributes["value"].value
    space, _, overload = name.removeprefix("torch.").partition(".")
    function, _, variant = overload.partition(".")
    try:
        call = getattr(getattr(getattr(torch.ops, space), function), variant or "default")
    except AttributeError as error:
        raise CompilationError(f"'{name}' has no reference in NumPy or in torch") from error
    arguments = call._schema.arguments
    named = {
        argument.name: operand
        for argument, operand in zip(arguments, operands, strict=False)
        if argument.kwarg_only
    }
    return call(*operands[: len(operands) - len(named)], **named)
