"""Names of what `calibrate` observes, as the passes around it look them up."""

from __future__ import annotations

from collections.abc import Iterator

from torch_mlir import ir
from torch_mlir.dialects import func

STATISTICS = "mfm.statistics"
"""Attribute of an operation: under which name the statistics of its result are found."""
HIDDEN = 1e30
"""From here on a number marks what is hidden (-inf, the least float): it saturates instead of
stretching the scale of all others."""


def argument_key(function: func.FuncOp, index: int) -> str:
    """Name of the statistics of a function's argument."""
    return f"{function.name.value}.argument{index}"


def named_values(function: func.FuncOp) -> Iterator[tuple[str, ir.Value]]:
    """Every value that has statistics, with their name."""
    for index, argument in enumerate(function.entry_block.arguments):
        yield argument_key(function, index), argument
    for op in function.entry_block.operations:
        if STATISTICS in op.operation.attributes:
            yield op.operation.attributes[STATISTICS].value, op.results[0]
