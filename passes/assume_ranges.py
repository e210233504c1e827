"""Gives every float value a range without looking at one, where only time is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import ParameterOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.quantization.plan import is_float_tensor
from girih.passes.statistics import STATISTICS, argument_key


@dataclass(frozen=True)
class AssumeRanges:
    """Name ranges as `calibrate` does, all of them 1: no value is computed.

    Scales are then placeholders. Which operations become integers, how wide they are and so what
    they cost depends on their kinds and shapes alone.
    """

    name: ClassVar[str] = "assume-ranges"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Annotate every function."""
        for function in functions_of(module):
            _assume(function, compilation)


def _assume(function: func.FuncOp, compilation: Compilation) -> None:
    def note(key: str, value: ir.Value) -> None:
        if is_float_tensor(value):
            channels = shape(value)[-1] if shape(value) else 1
            compilation.statistics[key] = np.broadcast_to(np.float32(1), channels)

    for index, argument in enumerate(function.entry_block.arguments):
        note(argument_key(function, index), argument)
    for index, op in enumerate(function.entry_block.operations):
        if len(op.results) == 1 and not isinstance(op, func.ReturnOp):
            key = f"{function.name.value}.{index}"
            op.operation.attributes[STATISTICS] = ir.StringAttr.get(key)
            if not isinstance(op, ParameterOp):
                note(key, op.results[0])
