"""States that nothing reads any more leave the signatures of all functions."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.pruning.signature import returned, set_signature
from girih.passes.states import state_of
from girih.passes.statistics import argument_key


def unread_states(functions: Sequence[func.FuncOp]) -> set[str]:
    """States that reach no result but themselves and each other, in any function."""
    read, known = set[str](), -1
    while len(read) > known:
        known = len(read)
        for function in functions:
            read |= _read_for(function, read)
    return {name for function in functions for name in _states(function)} - read


def _states(function: func.FuncOp) -> set[str]:
    counts = {
        "arg_attrs": len(function.entry_block.arguments),
        "res_attrs": len(returned(function).operands),
    }
    names = (
        state_of(function, side, index) for side, count in counts.items() for index in range(count)
    )
    return {name for name in names if name is not None}


def _read_for(function: func.FuncOp, read: Set[str]) -> set[str]:
    """States that a function reads for results that are no states, or states that are read."""
    needed: set[ir.Value] = set()
    for op in reversed(list(function.entry_block.operations)):
        if isinstance(op, func.ReturnOp):
            for index, value in enumerate(op.operands):
                state = state_of(function, "res_attrs", index)
                if state is None or state in read:
                    needed.add(value)
        elif any(result in needed for result in op.results):
            needed.update(op.operands)
    names = (
        state_of(function, "arg_attrs", index)
        for index, argument in enumerate(function.entry_block.arguments)
        if argument in needed
    )
    return {name for name in names if name is not None}


def drop_states(
    functions: Sequence[func.FuncOp], names: Set[str], compilation: Compilation
) -> None:
    """Remove states that are not read from arguments, results and calibration inputs."""
    for function in functions:
        _drop_results(function, names)
        erase_unused(function.entry_block)
        _drop_arguments(function, names, compilation)
        set_signature(function)


def _drop_results(function: func.FuncOp, names: Set[str]) -> None:
    last = returned(function)
    stay = [
        index
        for index in range(len(last.operands))
        if state_of(function, "res_attrs", index) not in names
    ]
    if len(stay) < len(last.operands):
        with ir.InsertionPoint(last), last.location:
            func.ReturnOp([last.operands[index] for index in stay])
        last.operation.erase()
        _keep_attributes(function, "res_attrs", stay)


def _drop_arguments(function: func.FuncOp, names: Set[str], compilation: Compilation) -> None:
    block = function.entry_block
    count = len(block.arguments)
    stay = [i for i in range(count) if state_of(function, "arg_attrs", i) not in names]
    if len(stay) == count:
        return
    for index in sorted(set(range(count)) - set(stay), reverse=True):
        block.erase_argument(index)
    _keep_attributes(function, "arg_attrs", stay)
    name = function.name.value
    compilation.calibration = {
        **compilation.calibration,
        name: [
            [example[index] for index in stay] for example in compilation.calibration.get(name, [])
        ],
    }
    known = [compilation.statistics.pop(argument_key(function, i), None) for i in range(count)]
    for new, old in enumerate(stay):
        if (found := known[old]) is not None:
            compilation.statistics[argument_key(function, new)] = found


def _keep_attributes(function: func.FuncOp, side: str, stay: Sequence[int]) -> None:
    entries: Any = function.attributes[side]
    function.attributes[side] = ir.ArrayAttr.get([entries[index] for index in stay])
