"""Finds cheap operations among float ones, which integers would only make slower and less exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import BinaryOp, MultiplyScalarOp, ReduceOp, SelectOp, SoftmaxOp, UnaryOp
from girih.passes.quantization.plan import (
    MOVED,
    STAYS_FLOAT,
    is_float_tensor,
    is_quantizable,
    is_weight,
)

_CHEAP = (BinaryOp, MultiplyScalarOp, UnaryOp, *MOVED)
"""What costs a pass over the data: less than a seam on either side of it."""
_SUMS = (ReduceOp, SoftmaxOp)
"""Float operations that are computed from integers, so that no order and no rounding shows."""


def mark_islands(function: func.FuncOp) -> None:
    """Mark the cheap operations that only float operations feed and only float ones read.

    ```
    tanh (float) --> multiply_scalar --> sine (float)
    ```
    The multiplication would otherwise stand, as an integer, between a quantize and a dequantize.
    Additions stay integers: IREE rounds a product and the sum that reads it once or twice,
    depending on what else it computes in the same loop.
    """
    for op in function.entry_block.operations:
        if isinstance(op, SelectOp) and _feeds_softmax_alone(op):
            # What hides a score is no number that scores could share a scale with.
            op.operation.attributes[STAYS_FLOAT] = ir.UnitAttr.get()
    cheap = [op for op in function.entry_block.operations if _is_cheap(op)]
    seen: set[ir.OpView] = set()
    for op in cheap:
        if op in seen:
            continue
        island = _connected(op)
        seen.update(island)
        if not any(_touches_integers(member) for member in island):
            for member in island:
                member.operation.attributes[STAYS_FLOAT] = ir.UnitAttr.get()


def _feeds_softmax_alone(op: SelectOp) -> bool:
    return all(isinstance(reader, SoftmaxOp) for reader in _readers(op))


def _is_cheap(op: Any) -> bool:
    if isinstance(op, BinaryOp) and op.function.value == "subtract":
        return False
    return isinstance(op, _CHEAP) and is_quantizable(op)


def _connected(op: ir.OpView) -> list[ir.OpView]:
    island = [op]
    for member in island:
        for other in (*_producers(member), *_readers(member)):
            if _is_cheap(other) and other not in island:
                island.append(other)
    return island


def _producers(op: ir.OpView) -> Iterator[Any]:
    for operand in op.operands:
        if is_float_tensor(operand) and not is_weight(operand):
            yield None if isinstance(operand.owner, ir.Block) else operand.owner.opview


def _readers(op: ir.OpView) -> Iterator[ir.OpView]:
    for use in op.results[0].uses:
        yield use.owner.operation.opview


def _touches_integers(op: ir.OpView) -> bool:
    if any(not _is_cheap(each) and _is_integer(each) for each in _producers(op)):
        return True
    for use in op.results[0].uses:
        reader = use.owner.operation.opview
        # A result has the same bits everywhere where its last operation is on integers.
        if isinstance(reader, (func.ReturnOp, *_SUMS)) or (
            not _is_cheap(reader) and _is_integer(reader)
        ):
            return True
    return False


def _is_integer(op: Any) -> bool:
    return op is None or is_quantizable(op)
