"""Runs a module's functions on all that calibration was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm.base import DTYPES, shape
from girih.passes.base import Compilation
from girih.passes.interpreter import interpret
from girih.passes.states import state_of

Array = NDArray[Any]
Record = Callable[[str, ir.Value, Array], None]
"""Sees the name of a function, a value of it and what it is in one run."""


def functions_of(module: ir.Module) -> dict[str, func.FuncOp]:
    """The functions of a module by name."""
    functions = [op for op in module.body.operations if isinstance(op, func.FuncOp)]
    return {function.name.value: function for function in functions}


def runs_of(compilation: Compilation) -> Counter[str]:
    """How often `run_examples` runs each function."""
    called = Counter(name for episode in compilation.episodes for name, _ in episode)
    for name, examples in compilation.calibration.items():
        called[name] += len(examples)
    return called


def run_examples(
    functions: Mapping[str, func.FuncOp], compilation: Compilation, record: Record
) -> None:
    """Run each function on its calibration inputs, then the episodes, states carried along.

    `record` sees every argument, and every result of an operation.
    """
    for name, function in functions.items():
        for inputs in compilation.calibration.get(name, []):
            _run(function, inputs, compilation, record)
    for episode in compilation.episodes:
        states: dict[str, Array] = {}
        for name, inputs in episode:
            _call(functions[name], inputs, states, compilation, record)


def _call(
    function: func.FuncOp,
    inputs: Sequence[Array],
    states: dict[str, Array],
    compilation: Compilation,
    record: Record,
) -> None:
    """Run on inputs that are no states and on the states, whose places results take."""
    given = iter(inputs)
    arguments: list[Array] = []
    for index, argument in enumerate(function.entry_block.arguments):
        state = state_of(function, "arg_attrs", index)
        arguments.append(next(given) if state is None else states.get(state, _zeros(argument)))
    for index, result in enumerate(_run(function, arguments, compilation, record)):
        state = state_of(function, "res_attrs", index)
        if state is not None:
            states[state] = result


def _run(
    function: func.FuncOp, inputs: Sequence[Array], compilation: Compilation, record: Record
) -> list[Array]:
    name = function.name.value
    for argument, value in zip(function.entry_block.arguments, inputs, strict=True):
        record(name, argument, value)
    return interpret(
        function,
        inputs,
        compilation.parameters,
        lambda op, value: record(name, op.results[0], value),
    )


def _zeros(argument: ir.Value) -> Array:
    return np.zeros(shape(argument), DTYPES[str(argument.type.element_type)])
