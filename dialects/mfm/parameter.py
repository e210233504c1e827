"""Weights: named, held outside the IR."""

from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import Array, Operation, is_narrow
from girih.dialects.mfm.hollow import elementwise


class ParameterOp(Operation, name="parameter", traits=[ext.Pure]):
    """A weight by name. Its bytes live in the program's parameter archive, never in the IR.

    Its `reference` is the archive's array, which the interpreter supplies. An archive's f16 or
    bf16 array may stand behind an f32 result: the value is the array's, exactly.
    """

    parameter: ir.StringAttr
    result: ext.Result[Any]


def widened(array: Array) -> Array:
    """An archive's array as it is computed with: f16 and bf16 become f32, others stay views."""
    if not is_narrow(array.dtype):
        return array
    return elementwise(lambda narrow: narrow.astype(np.float32), array)


def narrowed(array: Array, like: Array) -> Array:
    """What was made from a narrow array, in the same narrow type if that changes no value."""
    if not is_narrow(like.dtype) or array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):  # too large for float16: it then differs
        short = array.astype(like.dtype)
    return short if np.array_equal(short.astype(np.float32), array, equal_nan=True) else array
