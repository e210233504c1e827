"""Runs a graph-level function through `reference()`: the meaning of a compiled program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import Operation, ParameterOp
from girih.runtime.errors import CompilationError

Array = NDArray[Any]
Observer = Callable[[ir.OpView, Array], None]


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
    observer: Observer | None = None,
) -> list[Array]:
    """Run a function of `mfm` operations on NumPy arrays, one per argument.

    `observer` sees each operation and its result. Values are dropped after their last use, so
    memory stays that of the widest point of the graph. Raises `CompilationError` for an operation
    that has no NumPy meaning (a torch fallback).
    """
    block = function.entry_block
    values: dict[ir.Value, Array] = dict(zip(block.arguments, inputs, strict=True))
    remaining = {argument: len(list(argument.uses)) for argument in block.arguments}
    for op in block.operations:
        if isinstance(op, func.ReturnOp):
            return [values[operand] for operand in op.operands]
        if isinstance(op, ParameterOp):
            result = parameters[op.parameter.value]
        elif isinstance(op, Operation):
            result = op.reference(*(values[operand] for operand in op.operands))
        else:
            raise CompilationError(f"'{op.operation.name}' has no reference; it runs on IREE only")
        if observer is not None:
            observer(op, result)
        values[op.results[0]] = result
        remaining[op.results[0]] = len(list(op.results[0].uses))
        for operand in op.operands:
            remaining[operand] -= 1
            if remaining[operand] == 0:
                del values[operand]
    raise CompilationError(f"function @{function.name.value} does not return")
