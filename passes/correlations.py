"""How the inputs of products go together: what rounding that compensates its errors asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import Conv1dOp, LinearOp, ParameterOp
from girih.dialects.mfm.convolution import windows
from girih.passes.matching import defined_by

Array = NDArray[Any]

_ROWS = 512
"""So many rows are multiplied at a time: a decoder brings them one by one."""


@dataclass
class _Reader:
    """Weights that multiply the same rows of one value: a convolution's lie in windows."""

    window: tuple[int, int, int] | None
    weights: set[str] = field(default_factory=set[str])
    pending: list[Array] = field(default_factory=list[Array])
    square: Array | None = None

    def add(self, value: Array) -> None:
        if self.window is not None:
            value = windows(value, *self.window)
        self.pending.append(value.reshape(-1, value.shape[-1]))
        if sum(map(len, self.pending)) >= _ROWS:
            self.multiply()

    def multiply(self) -> None:
        if self.pending:
            rows = np.concatenate(self.pending).astype(np.float64)
            self.pending.clear()
            square = rows.T @ rows
            self.square = square if self.square is None else self.square + square


class Correlations:
    """Sums of x^T x over the rows x of what products read, by the names of their weights."""

    def __init__(self, functions: Iterable[func.FuncOp]) -> None:
        self._readers: dict[ir.Value, list[_Reader]] = {}
        for function in functions:
            for op in function.entry_block.operations:
                if isinstance(op, LinearOp | Conv1dOp):
                    self._note(op)

    def _note(self, op: LinearOp | Conv1dOp) -> None:
        weight = defined_by(op.weight, ParameterOp)
        if weight is None:
            return
        window = None
        if isinstance(op, Conv1dOp):
            window = (op.kernel.value, op.stride.value, op.padding.value)
        readers = self._readers.setdefault(op.x, [])
        reader = next((each for each in readers if each.window == window), None)
        if reader is None:
            reader = _Reader(window)
            readers.append(reader)
        reader.weights.add(weight.parameter.value)

    def add(self, value: ir.Value, array: Array) -> None:
        """Count what a value is in one run."""
        for reader in self._readers.get(value, []):
            reader.add(array)

    def sums(self) -> dict[str, Array]:
        """The sums by weight; weights that read the same rows share them."""
        found: dict[str, Array] = {}
        for readers in self._readers.values():
            for reader in readers:
                reader.multiply()
                if reader.square is None:
                    continue
                for name in reader.weights:
                    known = found.get(name)
                    found[name] = reader.square if known is None else known + reader.square
        return found
