"""Movement on integers: all that is moved together has one scale."""

from __future__ import annotations

from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.passes.quantization.function import FunctionQuantizer, Rule
from girih.passes.quantization.plan import MOVED


def _cache_update(quantizer: FunctionQuantizer, op: mfm.CacheUpdateOp) -> ir.Value:
    group = quantizer.group(op)
    return mfm.CacheUpdateOp(
        cache=quantizer.operand(op.cache, group),
        position=op.position,
        rows=quantizer.operand(op.rows, group),
        result=quantizer.result_type(op),
    ).result


def _move(quantizer: FunctionQuantizer, op: ir.OpView) -> ir.Value:
    """The same operation on integers: other operands and attributes stay."""
    group = quantizer.group(op)
    moved = set(MOVED[type(op)](op))
    operands = [
        quantizer.operand(operand, group) if operand in moved else operand
        for operand in op.operands
    ]
    kind = ir.IntegerType.get_signless(group.bits)
    return ir.Operation.create(
        op.operation.name,
        results=[ir.RankedTensorType.get(list(shape(op.results[0])), kind)],
        operands=operands,
        attributes={
            name: op.operation.attributes[name]
            for name in op.operation.attributes
            if not name.startswith("mfm.")
        },
    ).result


RULES: dict[type, Rule] = {
    **dict.fromkeys(MOVED, _move),
    mfm.CacheUpdateOp: _cache_update,
}
