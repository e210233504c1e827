"""The type of a function after its body changed."""

from __future__ import annotations

from torch_mlir import ir
from torch_mlir.dialects import func


def returned(function: func.FuncOp) -> func.ReturnOp:
    """The function's last operation."""
    operations = function.entry_block.operations
    last = operations[len(operations) - 1]
    assert isinstance(last, func.ReturnOp)
    return last


def set_signature(function: func.FuncOp) -> None:
    """Make the function's type that of its arguments and of what it returns."""
    inputs = [argument.type for argument in function.entry_block.arguments]
    results = [value.type for value in returned(function).operands]
    signature = ir.FunctionType.get(inputs, results)
    function.attributes["function_type"] = ir.TypeAttr.get(signature)
