"""Observes the range of every float value on example inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import LinearOp
from girih.dialects.mfm.base import DTYPES, shape
from girih.passes.base import Compilation
from girih.passes.correlations import Correlations
from girih.passes.examples import run_examples, runs_of
from girih.passes.functions import functions_by_name
from girih.passes.pruning.influence import Streams
from girih.passes.statistics import HIDDEN, STATISTICS, named_values
from girih.runtime.errors import CompilationError


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
            compilation.units,
        ):
            table.clear()
        functions = functions_by_name(module)
        for name, function in functions.items():
            _name_values(function)
            if not runs_of(compilation)[name] and self.random:
                # Who looks at values once more looks at the same ones.
                compilation.calibration[name] = self._random_inputs(function)
        counts = runs_of(compilation)
        for name in functions:
            if not counts[name]:
                raise CompilationError(
                    f"entry {name!r} has no calibration inputs: pass calibration=[(...), ...]"
                )
        keys = {
            value: key for function in functions.values() for key, value in named_values(function)
        }
        multiplied = {value for value in keys if _is_multiplied(value)}
        streams = {name: Streams(function) for name, function in functions.items()}
        correlations = Correlations(functions.values()) if self.correlations else None

        def record(name: str, value: ir.Value, array: NDArray[Any]) -> None:
            streams[name].observe(value, array)
            if array.dtype.kind != "f":
                return
            rows = _magnitudes(array)
            _widen(compilation.statistics, keys[value], rows)
            if value in multiplied:
                # Every example has the same shape, and so the same part in the mean.
                mean = np.einsum("rc,rc->c", rows, rows) / (max(len(rows), 1) * counts[name])
                known = compilation.squares.get(keys[value])
                compilation.squares[keys[value]] = mean if known is None else known + mean
            if correlations is not None:
                correlations.add(value, array)

        run_examples(functions, compilation, record)
        if correlations is not None:
            compilation.correlations.update(correlations.sums())
        for each in streams.values():
            compilation.influence.update(each.influence())

    def _random_inputs(self, function: func.FuncOp) -> list[list[NDArray[Any]]]:
        generator = np.random.default_rng(0)

        def sample(argument: ir.Value) -> NDArray[Any]:
            dtype = DTYPES[str(argument.type.element_type)]
            values = generator.standard_normal(shape(argument))
            return values.astype(dtype) if dtype.kind == "f" else np.zeros(shape(argument), dtype)

        arguments = function.entry_block.arguments
        return [[sample(argument) for argument in arguments] for _ in range(self.random)]


def _name_values(function: func.FuncOp) -> None:
    """Give each operation the name of its statistics."""
    for index, op in enumerate(function.entry_block.operations):
        if len(op.results) == 1 and not isinstance(op, func.ReturnOp):
            key = f"{function.name.value}.{index}"
            op.operation.attributes[STATISTICS] = ir.StringAttr.get(key)


def _magnitudes(array: NDArray[Any]) -> NDArray[Any]:
    """Magnitudes by channel (rows, channels), without those that mark what is hidden."""
    channels = array.shape[-1] if array.ndim else 1
    rows = np.abs(array).reshape(array.size // max(channels, 1), channels)
    return np.where(rows < HIDDEN, rows, 0)


def _widen(statistics: dict[str, NDArray[Any]], key: str, rows: NDArray[Any]) -> None:
    magnitudes = rows.max(axis=0, initial=0)  # an empty tensor has no largest magnitude
    known = statistics.get(key)
    statistics[key] = magnitudes if known is None else np.maximum(known, magnitudes)


def _is_multiplied(value: ir.Value) -> bool:
    """Whether a linear operation reads the value's channels."""
    users = (use.owner.operation.opview for use in value.uses)
    return any(isinstance(user, LinearOp) and user.x == value for user in users)
