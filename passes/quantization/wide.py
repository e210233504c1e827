"""Products of inputs of 16 bits with weights of 8: two products of inputs of 8 bits, added.

```
x (int16, at scale s) --> high = rescale(x, 2^-8) : int8, low = x - 256 high : int8
y = x @ w + b         --> (high @ w + b_high at 256 s) + (low @ w + b_low at s)
```
Both halves and both products have forms that every backend computes already.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.dialects.mfm.hollow import once
from girih.passes.quantization import weights
from girih.passes.quantization.function import FunctionQuantizer
from girih.passes.quantization.plan import Group
from girih.passes.quantization.pointwise import negated
from girih.passes.torch_to_mfm.rewriter import integer_attribute

Array = NDArray[Any]

BYTE = 256
"""What one unit of the high half is worth in units of the low one."""


def halves(quantizer: FunctionQuantizer, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """High and low half of int16, both int8: x = 256 high + low, exactly up to 32639.

    Calibration leaves what is above to headroom; there, low saturates.
    """
    if x not in quantizer.halves:
        kind = ir.RankedTensorType.get(list(shape(x)), ir.IntegerType.get_signless(8))
        high = mfm.RescaleOp(
            x=x, multiplier=integer_attribute(1), shift=integer_attribute(8), result=kind
        ).result
        same = Group(1.0, {16}, {16})
        # Of 16 bits: minus -128 has no place in 8.
        minus = negated(quantizer, high, same, same)
        low = mfm.IntegerAddOp(
            lhs=x,
            rhs=minus,
            # Twice everything: a shift is 1 at least.
            lhs_multiplier=integer_attribute(2),
            rhs_multiplier=integer_attribute(2 * BYTE),
            shift=integer_attribute(1),
            result=kind,
        ).result
        quantizer.halves[x] = high, low
    return quantizer.halves[x]


def part(weight: Array, source: Group, target: Group) -> Group:
    """The group of both products: neither saturates where their sum does not.

    The low one may reach half a unit of the high input times all of a row's weights, and the high
    one may be further from 0 than the sum, by as much.
    """
    reach = BYTE / 2 * source.scale * np.abs(once(weight)).sum(axis=1)
    spare = float((reach / weights.channel_factor(target, len(reach))).max())
    return Group(target.maximum + spare, {16}, {16}, factor=target.factor)


def parameters(
    row_scale: Array, bias: Array | None, source: Group, target: Group
) -> tuple[Array, Array]:
    """Those of the product with the high half, and with the low one.

    The bias comes in halves too: the high product alone would be off by its rounding, and with all
    of it the low one would be as large as the sum.
    """
    unit = BYTE * row_scale
    high = weights.linear_parameters(unit, bias, source, target)
    rest = None if bias is None else bias - high[0] * (unit * source.scale)
    return high, weights.linear_parameters(row_scale, rest, source, target)


def total(high: ir.Value, low: ir.Value, group: Group, target: Group) -> ir.Value:
    """The sum of both products, which are of one group, at the width and scale of the result."""
    first, second, shift = weights.add_multipliers(group, group, target)
    return mfm.IntegerAddOp(
        lhs=high,
        rhs=low,
        lhs_multiplier=integer_attribute(first),
        rhs_multiplier=integer_attribute(second),
        shift=integer_attribute(shift),
        result=ir.RankedTensorType.get(list(shape(high)), ir.IntegerType.get_signless(target.bits)),
    ).result
