"""How far each block turns the residual stream, observed while a function runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.passes.pruning.blocks import Block, blocks_of

Array = NDArray[Any]


def influence_key(function: func.FuncOp, block: Block) -> str:
    """Name of a block's influence in `Compilation.influence`."""
    return f"{function.name.value}.{block.path}"


class Streams:
    """Collects ``1 - mean cosine(start, end)`` over tokens, per block (ShortGPT, Men et al. 2024).

    A stream is held from where a block begins to where the last block that begins there ends.
    """

    def __init__(self, function: func.FuncOp) -> None:
        self._function = function
        self._blocks = list(blocks_of(function))
        self._starts: dict[ir.Value, list[Block]] = {}
        self._ends: dict[ir.Value, list[Block]] = {}
        for block in self._blocks:
            self._starts.setdefault(block.start, []).append(block)
            self._ends.setdefault(block.end, []).append(block)
        self._held: dict[ir.Value, Array] = {}
        self._open: dict[ir.Value, int] = {}
        self._cosines: dict[str, list[float]] = {block.path: [] for block in self._blocks}

    def observe(self, value: ir.Value, array: Array) -> None:
        """See a value of the function, in the order in which it runs."""
        for block in self._ends.get(value, ()):
            if block.start not in self._held:
                continue  # one of several results of an operation, which nobody is shown
            self._cosines[block.path].append(_mean_cosine(self._held[block.start], array))
            self._open[block.start] -= 1
            if self._open[block.start] == 0:
                del self._held[block.start]
        if value in self._starts:
            self._held[value], self._open[value] = array, len(self._starts[value])

    def influence(self) -> dict[str, float]:
        """The mean over all runs, per block, by `influence_key`."""
        return {
            influence_key(self._function, block): 1 - float(np.mean(self._cosines[block.path]))
            for block in self._blocks
            if self._cosines[block.path]
        }


def _mean_cosine(before: Array, after: Array) -> float:
    """Cosine of each row (last axis) with the same row after; a row of zeros turns by 0."""
    before, after = (each.reshape(-1, each.shape[-1]) for each in (before, after))
    products = np.einsum("rc,rc->r", before, after)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float(np.divide(products, lengths, out=np.ones_like(products), where=lengths > 0).mean())
