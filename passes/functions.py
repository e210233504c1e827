"""The functions of a module."""

from __future__ import annotations

from torch_mlir import ir
from torch_mlir.dialects import func


def functions_of(module: ir.Module) -> list[func.FuncOp]:
    """In the order of the module."""
    return [op for op in module.body.operations if isinstance(op, func.FuncOp)]


def functions_by_name(module: ir.Module) -> dict[str, func.FuncOp]:
    """The same by name."""
    return {function.name.value: function for function in functions_of(module)}
