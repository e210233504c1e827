"""Weights: named, held outside the IR."""

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects.mfm.base import Operation


class ParameterOp(Operation, name="parameter", traits=[ext.Pure]):
    """A weight by name. Its bytes live in the program's parameter archive, never in the IR.

    Its `reference` is the archive's array, which the interpreter supplies.
    """

    parameter: ir.StringAttr
    result: ext.Result[Any]
