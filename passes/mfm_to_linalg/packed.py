"""`unpack`: weights of 4 bits become bytes, once, when the program is loaded."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.dialects.arithmetic import GROUP, GROUP_BYTES
from girih.passes.mfm_to_linalg import build, scalar


def lower_unpack(op: Any) -> ir.Value:
    """Both halves of each byte times the scale of their group."""
    rows, columns = build.shape(op.result)
    groups, half = columns // GROUP, GROUP // 2
    packed = build.reshape(op.x, [rows, groups, GROUP_BYTES])
    scales = build.slice_(packed, [0, 0, 0], [rows, groups, 1])
    nibbles = build.slice_(packed, [0, 0, 1], [rows, groups, half])

    def weight(both: ir.Value, scale: ir.Value) -> ir.Value:
        # The low half, of axis 2, is shifted to where the high one is.
        upper = scalar.shift_left(both, scalar.multiply(_low(), 4))
        value = scalar.shift_right(upper, 4)
        return scalar.saturate(
            scalar.multiply(scalar.extend(value, 32), scalar.extend(scale, 32)), 8
        )

    halves = build.elementwise(
        [(nibbles, [0, 1, 3]), (build.reshape(scales, [rows, groups]), [0, 1])],
        [rows, groups, 2, half],
        scalar.integer_type(8),
        weight,
    )
    return build.reshape(halves, [rows, columns])


def _low() -> ir.Value:
    """1 for the low half of a byte, 0 for the high one."""
    return scalar.subtract(scalar.constant(1, scalar.integer_type(8)), build.loop_index(2, 8))
