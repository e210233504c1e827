"""Observes the range of every float value on example inputs."""

from __future__ import annotations

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
from girih.runtime.errors import CompilationError

STATISTICS = "mfm.statistics"

HIDDEN = 1e30
"""From here on a number marks what is hidden (-inf, the least float): it saturates instead of
stretching the scale of all others."""


@dataclass(frozen=True)
class Calibrate:
    """Run each function on its calibration inputs and name the ranges that were seen.

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
        for function in module.body.operations:
            if isinstance(function, func.FuncOp):
                name = function.name.value
                examples = compilation.calibration.get(name) or self._random_inputs(function)
                if not examples:
                    raise CompilationError(
                        f"entry {name!r} has no calibration inputs: pass calibration=[(...), ...]"
                    )
                # Who looks at values once more looks at the same ones.
                compilation.calibration[name] = examples
                _observe(function, examples, compilation, self.correlations)

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


def _observe(
    function: func.FuncOp,
    examples: list[list[NDArray[Any]]],
    compilation: Compilation,
    correlations: bool,
) -> None:
    statistics, squares = compilation.statistics, compilation.squares
    streams = Streams(function)
    for index, op in enumerate(function.entry_block.operations):
        if len(op.results) == 1 and not isinstance(op, func.ReturnOp):
            key = f"{function.name.value}.{index}"
            op.operation.attributes[STATISTICS] = ir.StringAttr.get(key)

    def record(key: str, name: ir.Value, value: NDArray[Any]) -> None:
        streams.observe(name, value)
        if value.dtype.kind != "f":
            return
        channels = value.shape[-1] if value.ndim else 1
        rows = np.abs(value).reshape(value.size // max(channels, 1), channels)
        rows = np.where(rows < HIDDEN, rows, 0)
        magnitudes = rows.max(axis=0, initial=0)  # an empty tensor has no largest magnitude
        known = statistics.get(key)
        statistics[key] = magnitudes if known is None else np.maximum(known, magnitudes)
        if _is_multiplied(name):
            # Every example has the same shape, and so the same part in the mean.
            mean = np.einsum("rc,rc->c", rows, rows) / (max(len(rows), 1) * len(examples))
            squares[key] = squares[key] + mean if key in squares else mean
        if correlations:
            _correlate(name, value, compilation)

    def observe(op: ir.OpView, value: NDArray[Any]) -> None:
        record(op.operation.attributes[STATISTICS].value, op.results[0], value)

    for inputs in examples:
        for index, value in enumerate(inputs):
            record(argument_key(function, index), function.entry_block.arguments[index], value)
        interpret(function, inputs, compilation.parameters, observe)
    compilation.influence.update(streams.influence())


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
