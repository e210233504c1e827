"""What each hidden channel or head is worth, from weights and from what calibration saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import LinearOp
from girih.dialects.mfm.hollow import once
from girih.dialects.mfm.parameter import widened
from girih.passes.base import Compilation
from girih.passes.pruning.group import Group
from girih.passes.quantization.plan import is_weight
from girih.passes.statistics import STATISTICS

Array = NDArray[Any]


def importance(group: Group, compilation: Compilation) -> Array:
    """One number per unit: the mean energy that it adds to what the next operations sum.

    ``sum over its elements c of |W[:, c]|^2 mean(h_c^2)`` over all outgoing linear operations:
    the squared score of Wanda (Sun et al. 2023), for whole columns. Where nothing was observed,
    the squares of the weights that make the unit stand for its mean square.
    """
    outgoing = group.outgoing
    observed = [mean_square(op.x, compilation) for op in outgoing]
    total = np.zeros(group.count)
    for op, squares in zip(outgoing, observed, strict=True):
        energy = _squares(op.weight, 0, compilation)
        if squares is not None:
            energy = energy * squares
        total += group.layouts[op.x].per_unit(energy, group.count)
    if any(squares is None for squares in observed):
        total *= _incoming(group, compilation)
    return total


def least_first(group: Group, compilation: Compilation) -> NDArray[np.intp]:
    """Numbers of the units, the least important first; of equal ones the first."""
    return np.argsort(importance(group, compilation), kind="stable")


def weight_name(op: LinearOp) -> str:
    """Name of a linear operation's weight; empty where it is computed."""
    return op.weight.owner.opview.parameter.value if is_weight(op.weight) else ""


def _incoming(group: Group, compilation: Compilation) -> Array:
    total = np.zeros(group.count)
    for op in group.incoming:
        energy = _squares(op.weight, 1, compilation)
        if op.bias is not None and is_weight(op.bias):
            energy = energy + _squares(op.bias, 1, compilation)
        total += group.layouts[op.result].per_unit(energy, group.count)
    return total


def _squares(weight: ir.Value, axis: int, compilation: Compilation) -> Array:
    """Squares of a weight, or of a bias as one column, summed over an axis, one per element left.

    Elements that are one in memory count once: then all sums are equal, which is all that matters.
    """
    stored = compilation.parameters[weight.owner.opview.parameter.value]
    matrix = widened(once(stored)).reshape(-1, 1) if stored.ndim == 1 else widened(once(stored))
    sums = np.einsum("nk,nk->k" if axis == 0 else "nk,nk->n", matrix, matrix)
    return np.broadcast_to(sums, stored.shape[1 - axis]).astype(np.float64)


def mean_square(value: ir.Value, compilation: Compilation) -> Array | None:
    """Mean square of each channel of what linear operations read; None where none was observed."""
    owner = value.owner
    if isinstance(owner, ir.Block) or STATISTICS not in owner.attributes:
        return None
    return compilation.squares.get(owner.attributes[STATISTICS].value)
