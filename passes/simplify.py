"""Removes movement that cancels: transposes and reshapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import GeluOp, MultiplyScalarOp, ReshapeOp, TransposeOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused


@dataclass(frozen=True)
class Simplify:
    """Cancel transposes and reshapes; move transposes past elementwise operations to meet.

    ```
    transpose(transpose(x, p), q)  -->  transpose(x, p[q])
    reshape(reshape(x))            -->  reshape(x)
    reshape(transpose(x, p))       -->  reshape(x)        when p moves only axes of size 1
    gelu(transpose(x, p))          -->  transpose(gelu(x), p)
    transpose, reshape to itself   -->  x
    ```
    """

    name: ClassVar[str] = "simplify"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function, top down once: each rule only looks at its operands."""
        for function in module.body.operations:
            if isinstance(function, func.FuncOp):
                for op in list(function.entry_block.operations):
                    with ir.InsertionPoint(op), op.location:
                        _simplify(op)
                erase_unused(function.entry_block)


def _simplify(op: ir.OpView) -> None:
    if isinstance(op, TransposeOp):
        _simplify_transpose(op)
    elif isinstance(op, ReshapeOp):
        _simplify_reshape(op)
    elif isinstance(op, GeluOp | MultiplyScalarOp):
        _sink_transpose(op)


def _defined_by(value: ir.Value, kind: type[ir.OpView]) -> ir.OpView | None:
    owner = value.owner
    if isinstance(owner, ir.Block) or not isinstance(owner.opview, kind):
        return None
    return owner.opview


def _transposed(x: ir.Value, order: list[int], result: ir.Type) -> ir.Value:
    if order == sorted(order):
        return x
    if _moves_only_units(shape(x), order):
        return ReshapeOp(x=x, result=result).result
    return TransposeOp(x=x, permutation=ir.DenseI64ArrayAttr.get(order), result=result).result


def _moves_only_units(sizes: tuple[int, ...], order: list[int]) -> bool:
    moving = [axis for axis in order if sizes[axis] != 1]
    return moving == sorted(moving)


def _simplify_transpose(op: TransposeOp) -> None:
    order, x = list(op.permutation), op.x
    inner = _defined_by(x, TransposeOp)
    if inner is not None:
        order, x = [list(inner.permutation)[axis] for axis in order], inner.x
    elif order != sorted(order) and not _moves_only_units(shape(x), order):
        return
    op.result.replace_all_uses_with(_transposed(x, order, op.result.type))


def _simplify_reshape(op: ReshapeOp) -> None:
    inner = _defined_by(op.x, ReshapeOp)
    x = op.x if inner is None else inner.x
    if x.type == op.result.type:
        op.result.replace_all_uses_with(x)
    elif inner is not None:
        op.result.replace_all_uses_with(ReshapeOp(x=x, result=op.result.type).result)


def _sink_transpose(op: GeluOp | MultiplyScalarOp) -> None:
    inner = _defined_by(op.x, TransposeOp)
    if inner is None:
        return
    if isinstance(op, GeluOp):
        moved = GeluOp(x=inner.x, approximate=op.approximate, result=inner.x.type)
    else:
        moved = MultiplyScalarOp(x=inner.x, factor=op.factor, result=inner.x.type)
    order = inner.permutation
    back = TransposeOp(x=moved.result, permutation=order, result=op.result.type)
    op.result.replace_all_uses_with(back.result)
