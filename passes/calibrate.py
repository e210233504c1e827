"""Observes the range of every float value on example inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import Conv1dOp, LinearOp, ParameterOp
from girih.dialects.mfm.base import DTYPES, shape
from girih.dialects.mfm.convolution import windows
from girih.passes.base import Compilation
from girih.passes.interpreter import interpret
from girih.passes.matching import defined_by
from girih.passes.pruning.influence import Streams
from girih.passes.states import state_of
from girih.runtime.errors import CompilationError

STATISTICS = "mfm.statistics"

_LARGEST = 1e30
"""From here on a number marks what is hidden (-inf, the least float): it saturates instead of
stretching the scale of all others."""


@dataclass(frozen=True)
class Calibrate:
    """Run each function on its calibration inputs and episodes, and name the ranges that were seen.

    The largest magnitudes per channel go to `Compilation.statistics`; each operation gets the
    attribute `mfm.statistics` with the name of its own. Beside them, for the pruning passes: mean
    squares per channel of what linear operations read, and the influence of residual blocks.
    Nothing is left of an earlier run, which may have seen another graph. With `random` > 0 that
    many random inputs are used for functions that have none (a fixed seed; to try passes without
    data). With `correlations`, how the inputs of each linear operation go together is noted too,
    for rounding that compensates its errors.
    """

    name: ClassVar[str] = "calibrate"
    random: int = 0
    correlations: bool = False

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Annotate every function; raise `CompilationError` where there is no example input."""
        for table in (
            compilation.statistics,
            compilation.squares,
            compilation.influence,
            compilation.correlations,
        ):
            table.clear()
        functions = {
            function.name.value: function
            for function in module.body.operations
            if isinstance(function, func.FuncOp)
        }
        called = Counter(name for episode in compilation.episodes for name, _ in episode)
        observers: dict[str, _Observer] = {}
        examples: dict[str, list[list[NDArray[Any]]]] = {}
        for name, function in functions.items():
            examples[name] = compilation.calibration.get(name, [])
            if not examples[name] and not called[name]:
                examples[name] = self._random_inputs(function)
            count = len(examples[name]) + called[name]
            if not count:
                raise CompilationError(
                    f"entry {name!r} has no calibration inputs: pass calibration=[(...), ...]"
                )
            observers[name] = _Observer(function, compilation, count, self.correlations)
        for name, observer in observers.items():
            for inputs in examples[name]:
                observer.run(inputs)
        for episode in compilation.episodes:
            states: dict[str, NDArray[Any]] = {}
            for name, inputs in episode:
                observers[name].call(inputs, states)
        for observer in observers.values():
            compilation.influence.update(observer.streams.influence())

    def _random_inputs(self, function: func.FuncOp) -> list[list[NDArray[Any]]]:
        generator = np.random.default_rng(0)

        def sample(argument: ir.Value) -> NDArray[Any]:
            dtype = DTYPES[str(argument.type.element_type)]
            values = generator.standard_normal(shape(argument))
            return values.astype(dtype) if dtype.kind == "f" else np.zeros(shape(argument), dtype)

        arguments = function.entry_block.arguments
        return [[sample(argument) for argument in arguments] for _ in range(self.random)]


def argument_key(function: func.FuncOp, index: int) -> str:
    """Name of the statistics of a function's argument."""
    return f"{function.name.value}.argument{index}"


class _Observer:
    """Runs one function `count` times in all, and notes what its values are."""

    def __init__(
        self, function: func.FuncOp, compilation: Compilation, count: int, correlations: bool
    ) -> None:
        self.function, self.compilation = function, compilation
        self.count, self.correlations = count, correlations
        self.streams = Streams(function)
        self._arguments = list(function.entry_block.arguments)
        self._reads = [
            state_of(function, "arg_attrs", index) for index in range(len(self._arguments))
        ]
        self._writes = [
            state_of(function, "res_attrs", index) for index in range(len(function.type.results))
        ]
        for index, op in enumerate(function.entry_block.operations):
            if len(op.results) == 1 and not isinstance(op, func.ReturnOp):
                key = f"{function.name.value}.{index}"
                op.operation.attributes[STATISTICS] = ir.StringAttr.get(key)

    def call(self, inputs: Sequence[NDArray[Any]], states: dict[str, NDArray[Any]]) -> None:
        """Run on inputs that are no states and on the states, which take the results' place."""
        given = iter(inputs)
        arguments = [
            next(given) if state is None else states.get(state, _zeros(argument))
            for argument, state in zip(self._arguments, self._reads, strict=True)
        ]
        for result, state in zip(self.run(arguments), self._writes, strict=True):
            if state is not None:
                states[state] = result

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run on inputs, one per argument; return the results."""
        for index, value in enumerate(inputs):
            self._record(argument_key(self.function, index), self._arguments[index], value)
        return interpret(self.function, inputs, self.compilation.parameters, self._observe)

    def _observe(self, op: ir.OpView, value: NDArray[Any]) -> None:
        self._record(op.operation.attributes[STATISTICS].value, op.results[0], value)

    def _record(self, key: str, name: ir.Value, value: NDArray[Any]) -> None:
        statistics, squares = self.compilation.statistics, self.compilation.squares
        self.streams.observe(name, value)
        if value.dtype.kind != "f":
            return
        channels = value.shape[-1] if value.ndim else 1
        rows = np.abs(value).reshape(value.size // max(channels, 1), channels)
        rows = np.where(rows < _LARGEST, rows, 0)
        magnitudes = rows.max(axis=0, initial=0)  # an empty tensor has no largest magnitude
        known = statistics.get(key)
        statistics[key] = magnitudes if known is None else np.maximum(known, magnitudes)
        if _is_multiplied(name):
            # Every example has the same shape, and so the same part in the mean.
            mean = np.einsum("rc,rc->c", rows, rows) / (max(len(rows), 1) * self.count)
            squares[key] = squares[key] + mean if key in squares else mean
        if self.correlations:
            _correlate(name, value, self.compilation)


def _zeros(argument: ir.Value) -> NDArray[Any]:
    return np.zeros(shape(argument), DTYPES[str(argument.type.element_type)])


def _is_multiplied(value: ir.Value) -> bool:
    """Whether a linear operation reads the value's channels."""
    users = (use.owner.operation.opview for use in value.uses)
    return any(isinstance(user, LinearOp) and user.x == value for user in users)


def _correlate(x: ir.Value, value: NDArray[Any], compilation: Compilation) -> None:
    """Add x^T x to what is known of the weights that the value is multiplied with."""
    squares: dict[tuple[int, ...], NDArray[Any]] = {}
    found: dict[str, NDArray[Any]] = {}
    for use in x.uses:
        user = use.owner.operation.opview
        if not isinstance(user, LinearOp | Conv1dOp) or user.x != x:
            continue
        weight = defined_by(user.weight, ParameterOp)
        if weight is None:
            continue
        # Queries, keys and values read the same rows: their product is taken once.
        window: tuple[int, ...] = ()
        if isinstance(user, Conv1dOp):
            window = (user.kernel.value, user.stride.value, user.padding.value)
        if window not in squares:
            rows = _rows(user, value)
            squares[window] = rows.T @ rows
        found[weight.parameter.value] = squares[window]
    for name, square in found.items():
        known = compilation.correlations.get(name)
        compilation.correlations[name] = square if known is None else known + square


def _rows(op: LinearOp | Conv1dOp, value: NDArray[Any]) -> NDArray[Any]:
    """What is multiplied with each row of the weight, in double precision."""
    if isinstance(op, Conv1dOp):
        value = windows(value, op.kernel.value, op.stride.value, op.padding.value)
    return value.reshape(-1, value.shape[-1]).astype(np.float64)
