"""Resampling that is linear and works on each axis by itself: a product per axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm import LinearOp
from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.rewriter import Rewriter


def along_axes(
    rewriter: Rewriter, x: ir.Value, matrices: Sequence[NDArray[Any]], names: Sequence[str]
) -> ir.Value:
    """Multiply the last axes of x with matrices (new size, old size), each a weight by its name.

    The axis is made the last one meanwhile. What shrinks most goes first.
    """
    rank = len(shape(x))
    axes = [rank - len(matrices) + index for index in range(len(matrices))]
    order = sorted(zip(axes, matrices, names, strict=True), key=lambda each: _growth(each[1]))
    for axis, matrix, name in order:
        if np.array_equal(matrix, np.eye(*matrix.shape)):
            continue
        swapped = [*range(axis), rank - 1, *range(axis + 1, rank - 1), axis]
        swapped = swapped if axis < rank - 1 else list(range(rank))
        rows = rewriter.transpose(x, swapped)
        kind = x.type.element_type
        weight = rewriter.parameter(name, np.ascontiguousarray(matrix, np.float32), kind)
        result = ir.RankedTensorType.get([*shape(rows)[:-1], matrix.shape[0]], kind)
        product = LinearOp(x=rows, weight=weight, bias=None, result=result).result
        x = rewriter.transpose(product, swapped)
    return x


def _growth(matrix: NDArray[Any]) -> float:
    return matrix.shape[0] / matrix.shape[1]
