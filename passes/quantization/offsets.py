"""Which values use both halves of int8 although they are hardly ever negative: ramp functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import GeluOp, LinearOp, ReshapeOp, UnaryOp
from girih.dialects.mfm.activation import RAMPS, gelu_ramp, ramp_depth
from girih.passes.base import Compilation
from girih.passes.calibrate import STATISTICS
from girih.passes.quantization.plan import Group, is_quantizable


def use_both_halves(groups: Iterable[Group], compilation: Compilation) -> None:
    """Give what a ramp function hands to linear operations alone a range of its own below 0.

    ```
    gelu: -0.17 .. 6   int8 of -4 .. 127 --> -128 .. 127, and 0 is -121
    ```
    Affine quantization (Jacob et al. 2018, section 2.1), its zero point in the bias of what reads
    it: `W (q - offset) = W q - offset sum(W)`. A convolution pads with zeros, which this would not
    be.
    """
    for group in groups:
        op = _ramp(group)
        if op is None or not all(_is_linear_alone(value) for value in group.members):
            continue
        function = gelu_ramp(op) if isinstance(op, GeluOp) else op.function.value
        depth = ramp_depth(function)
        if group.factor is None:
            group.below = min(depth, group.maximum)
        else:
            reached = compilation.statistics[op.operation.attributes[STATISTICS].value]
            group.below = float((np.minimum(reached, depth) / group.factor).max())


def _ramp(group: Group) -> GeluOp | UnaryOp | None:
    """The ramp function that makes a group of 8 bits, which reshapes alone pass on."""
    if group.bits != 8:
        return None
    found: list[GeluOp | UnaryOp] = []
    for value in group.members:
        if isinstance(value.owner, ir.Block):
            return None
        op: Any = value.owner.opview
        if not is_quantizable(op):
            return None
        if isinstance(op, GeluOp) or (isinstance(op, UnaryOp) and op.function.value in RAMPS):
            found.append(op)
        elif not isinstance(op, ReshapeOp):
            return None
    return found[0] if len(found) == 1 else None


def _is_linear_alone(value: ir.Value) -> bool:
    """Whether nothing reads a value but linear operations on integers, or a reshape of it does."""
    readers = (use.owner.operation.opview for use in value.uses)
    return all(isinstance(op, LinearOp | ReshapeOp) and is_quantizable(op) for op in readers)
