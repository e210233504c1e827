"""Refuses a target that is too small for the model, before any work is done for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.tiling.attention_cost import SMALLEST, Attention, attention_bytes
from girih.passes.tiling.cost import Product, lines
from girih.passes.tiling.product_cost import smallest_product_bytes
from girih.runtime.errors import CompilationError


@dataclass(frozen=True)
class CheckTarget:
    """Compare the smallest tile of each float operation, once quantized, with the target.

    Calibration takes seconds to minutes; a target that `tile` would refuse after it is better
    refused now. Changes nothing.
    """

    name: ClassVar[str] = "check-target"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Raise `CompilationError` naming the first operation that does not fit."""
        target = compilation.target
        if target is None:
            return
        for function in functions_of(module):
            for op in function.entry_block.operations:
                scratchpad, accumulator = _smallest(op)
                if (
                    scratchpad <= target.scratchpad_bytes
                    and accumulator <= target.accumulator_bytes
                ):
                    continue
                location = op.location
                name = location.name_str if isinstance(location, ir.NameLoc) else "a layer"
                raise CompilationError(
                    f"target {target.name!r} is too small for {name} ({op.operation.name}): its "
                    f"smallest tile takes {scratchpad} scratchpad and {accumulator} accumulator "
                    f"bytes, the target has {target.scratchpad_bytes} and "
                    f"{target.accumulator_bytes}"
                )


def _smallest(op: ir.OpView) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes of an operation's smallest tile as int8 and int16."""
    match op:
        case mfm.LinearOp():
            outputs, depth = shape(op.weight)
            rows = int(np.prod(shape(op.x)[:-1], dtype=np.int64))
            return smallest_product_bytes(Product(rows, outputs, depth, 1))
        case mfm.Conv1dOp():
            outputs, depth = shape(op.weight)
            window = (op.stride.value, op.kernel.value, shape(op.x)[2])
            return smallest_product_bytes(Product(shape(op.result)[1], outputs, depth, 1, window))
        case mfm.AttentionOp():
            _, queries, _, depth = shape(op.query)
            what = Attention(queries, shape(op.key)[1], depth, shape(op.value)[3], False)
            return attention_bytes(what, SMALLEST)
        case mfm.LayerNormOp():
            width = shape(op.x)[-1]
            return lines(2 * width) + lines(width) + lines(8 * width), 0
        case _:
            return 0, 0
