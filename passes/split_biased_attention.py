"""Attention with a bias --> two products and a softmax, where integers are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from girih.dialects.mfm import (
    AttentionOp,
    BroadcastOp,
    MatmulOp,
    MultiplyScalarOp,
    ReshapeOp,
    SoftmaxOp,
    TransposeOp,
)
from girih.dialects.mfm.base import element, shape
from girih.passes.base import Compilation
from girih.passes.boolean_masks import mask_parts, masked_scores
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of

HEADS_FIRST = (0, 2, 1, 3)


@dataclass(frozen=True)
class SplitBiasedAttention:
    """Take attention whose scores get a bias apart.

    ```
    attention(query, key, value, bias, scale)
    -->
    matmul(softmax(matmul(query, key, transposed) * scale + bias), value)
    ```
    Integer attention adds nothing to its scores. Both products then have an integer form of their
    own; the softmax between them stays on the host, and so does the choice of what it sees.
    """

    name: ClassVar[str] = "split-biased-attention"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every attention with a float mask."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                if isinstance(op, AttentionOp) and _is_biased(op):
                    with ir.InsertionPoint(op), op.location:
                        op.result.replace_all_uses_with(_split(op, compilation))
            erase_unused(function.entry_block)


def _is_biased(op: AttentionOp) -> bool:
    return op.mask is not None and element(op.mask) == "f32" and not op.causal.value


def _split(op: AttentionOp, compilation: Compilation) -> ir.Value:
    batch, queries, heads, _ = shape(op.query)
    keys, depth = shape(op.key)[1], shape(op.value)[3]
    query, key, value = (_heads_first(part, heads) for part in (op.query, op.key, op.value))
    kind = ir.IntegerType.get_signless(64)
    scores = MatmulOp(
        lhs=query,
        rhs=key,
        transposed=ir.IntegerAttr.get(kind, 1),
        result=_float([batch, heads, queries, keys]),
    ).result
    if op.scale.value != 1:
        scores = MultiplyScalarOp(x=scores, factor=op.scale, result=scores.type).result
    scores = masked_scores(scores, mask_parts(op.mask, compilation), compilation)
    weights = SoftmaxOp(x=scores, result=scores.type).result
    mixed = MatmulOp(
        lhs=weights,
        rhs=value,
        transposed=ir.IntegerAttr.get(kind, 0),
        result=_float([batch, heads, queries, depth]),
    ).result
    return _transposed(mixed)


def _heads_first(x: ir.Value, heads: int) -> ir.Value:
    """(batch, length, shared, depth) as (batch, heads, length, depth), shared heads repeated."""
    moved = _transposed(x)
    batch, shared, length, depth = shape(moved)
    if shared == heads:
        return moved
    group = heads // shared
    parted = ReshapeOp(x=moved, result=_float([batch, shared, 1, length, depth])).result
    repeated = BroadcastOp(x=parted, result=_float([batch, shared, group, length, depth])).result
    return ReshapeOp(x=repeated, result=_float([batch, heads, length, depth])).result


def _transposed(x: ir.Value) -> ir.Value:
    sizes = [shape(x)[axis] for axis in HEADS_FIRST]
    order = ir.DenseI64ArrayAttr.get(list(HEADS_FIRST))
    return TransposeOp(x=x, permutation=order, result=_float(sizes)).result


def _float(sizes: list[int]) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(sizes, ir.F32Type.get())
