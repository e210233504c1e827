"""Runs a module's functions in PyTorch on all that calibration was given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm.base import DTYPES, shape
from girih.passes.base import Compilation
from girih.passes.differentiable.function import TorchFunction, Weights, tensor_of
from girih.passes.states import state_of
from girih.passes.statistics import STATISTICS

Array = NDArray[Any]
Record = Callable[[str, ir.Value, Array], None]
"""Sees the name of a function, a value of it and what it is in one run."""


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

    `record` sees every argument, and every result of an operation that has statistics.
    """
    runners = {name: _Runner(function, compilation, record) for name, function in functions.items()}
    with torch.no_grad():
        for name, runner in runners.items():
            for inputs in compilation.calibration.get(name, []):
                runner.run(inputs)
        for episode in compilation.episodes:
            states: dict[str, Array] = {}
            for name, inputs in episode:
                runners[name].call(inputs, states)


class _Runner:
    """One function, its weights as tensors, and whom to tell of its values."""

    def __init__(self, function: func.FuncOp, compilation: Compilation, record: Record) -> None:
        self.name: str = function.name.value
        self.record = record
        self._function = TorchFunction(function)
        self._weights = Weights(compilation.parameters)
        self._arguments = list(function.entry_block.arguments)
        self._values = {
            op.operation.attributes[STATISTICS].value: op.results[0]
            for op in function.entry_block.operations
            if STATISTICS in op.operation.attributes
        }
        sides = {"arg_attrs": len(self._arguments), "res_attrs": len(function.type.results)}
        self._states = {
            side: [state_of(function, side, index) for index in range(count)]
            for side, count in sides.items()
        }

    def call(self, inputs: Sequence[Array], states: dict[str, Array]) -> None:
        """Run on inputs that are no states and on the states, whose places results take."""
        given = iter(inputs)
        arguments = [
            next(given) if state is None else states.get(state, _zeros(argument))
            for argument, state in zip(self._arguments, self._states["arg_attrs"], strict=True)
        ]
        for result, state in zip(self.run(arguments), self._states["res_attrs"], strict=True):
            if state is not None:
                states[state] = result

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run on inputs, one per argument."""
        for argument, value in zip(self._arguments, inputs, strict=True):
            self.record(self.name, argument, value)
        tensors = [tensor_of(value) for value in inputs]
        results = self._function(tensors, self._weights, self._observe)
        return [result.numpy() for result in results]

    def _observe(self, key: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            self.record(self.name, self._values[key], value.numpy())
        return value


def _zeros(argument: ir.Value) -> Array:
    return np.zeros(shape(argument), DTYPES[str(argument.type.element_type)])
