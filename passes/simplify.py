"""Removes movement that cancels: transposes and reshapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from girih.dialects.mfm import (
    AddOp,
    BinaryOp,
    GeluOp,
    MultiplyScalarOp,
    ReshapeOp,
    TransposeOp,
    UnaryOp,
)
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of


@dataclass(frozen=True)
class Simplify:
    """Cancel transposes and reshapes; move transposes past elementwise operations to meet.

    ```
    transpose(transpose(x, p), q)  -->  transpose(x, p[q])
    reshape(reshape(x))            -->  reshape(x)
    reshape(transpose(x, p))       -->  reshape(x)        when p moves only axes of size 1
    gelu(transpose(x, p))          -->  transpose(gelu(x), p)
    transpose(x, p) + transpose(y, p)  -->  transpose(x + y, p)        y may be a number instead
    transpose(reshape(transpose(x, p)), q)  -->  transpose(reshape(x), r)
                                            where the reshape keeps together what p moves
    transpose, reshape to itself   -->  x
    ```
    """

    name: ClassVar[str] = "simplify"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function, top down once: each rule only looks at its operands."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                with ir.InsertionPoint(op), op.location:
                    _simplify(op)
            erase_unused(function.entry_block)


def _simplify(op: ir.OpView) -> None:
    if isinstance(op, TransposeOp):
        _simplify_transpose(op)
    elif isinstance(op, ReshapeOp):
        _simplify_reshape(op)
    elif isinstance(op, GeluOp | MultiplyScalarOp | UnaryOp):
        _sink_transpose(op)
    elif isinstance(op, AddOp | BinaryOp):
        _sink_transposes(op)


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
    x = _hoisted(x)
    inner = _defined_by(x, TransposeOp)
    if inner is not None:
        order, x = [list(inner.permutation)[axis] for axis in order], inner.x
    elif order != sorted(order) and not _moves_only_units(shape(x), order):
        return
    op.result.replace_all_uses_with(_transposed(x, order, op.result.type))


def _hoisted(x: ir.Value) -> ir.Value:
    """``reshape(transpose(y))`` as ``transpose(reshape(y))``, where that is the same; else x."""
    reshape = _defined_by(x, ReshapeOp)
    inner = None if reshape is None else _defined_by(reshape.x, TransposeOp)
    if inner is None:
        return x
    order, target = list(inner.permutation), shape(x)
    groups = _common_groups(shape(inner.result), target)
    if groups is None:
        return x
    places = list[tuple[int, list[int]]]()
    for own, out in groups:
        sources = [order[axis] for axis in own]
        if sources != list(range(sources[0], sources[0] + len(sources))):
            return x
        places.append((sources[0], out))
    axes = [axis for _, out in sorted(places) for axis in out]
    kind = ir.RankedTensorType.get([target[axis] for axis in axes], x.type.element_type)
    source = ReshapeOp(x=inner.x, result=kind).result
    back = ir.DenseI64ArrayAttr.get([axes.index(axis) for axis in range(len(axes))])
    return TransposeOp(x=source, permutation=back, result=x.type).result


def _common_groups(
    source: tuple[int, ...], target: tuple[int, ...]
) -> list[tuple[list[int], list[int]]] | None:
    """Runs of axes of both shapes that hold the same elements; None where one has no partner."""
    groups = list[tuple[list[int], list[int]]]()
    i = j = 0
    while i < len(source) and j < len(target):
        own, out = [i], [j]
        a, b = source[i], target[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a, own, i = a * source[i], [*own, i], i + 1
            else:
                b, out, j = b * target[j], [*out, j], j + 1
        groups.append((own, out))
    return groups if (i, j) == (len(source), len(target)) else None


def _simplify_reshape(op: ReshapeOp) -> None:
    inner = _defined_by(op.x, ReshapeOp)
    x = op.x if inner is None else inner.x
    if x.type == op.result.type:
        op.result.replace_all_uses_with(x)
    elif inner is not None:
        op.result.replace_all_uses_with(ReshapeOp(x=x, result=op.result.type).result)


def _sink_transpose(op: GeluOp | MultiplyScalarOp | UnaryOp) -> None:
    inner = _defined_by(op.x, TransposeOp)
    if inner is None:
        return
    if isinstance(op, GeluOp):
        moved = GeluOp(x=inner.x, approximate=op.approximate, result=inner.x.type)
    elif isinstance(op, UnaryOp):
        moved = UnaryOp(x=inner.x, function=op.function, result=inner.x.type)
    else:
        moved = MultiplyScalarOp(x=inner.x, factor=op.factor, result=inner.x.type)
    order = inner.permutation
    back = TransposeOp(x=moved.result, permutation=order, result=op.result.type)
    op.result.replace_all_uses_with(back.result)


def _sink_transposes(op: AddOp | BinaryOp) -> None:
    """Below an operation on two tensors that are transposed alike, or on one and a number."""
    order: ir.Attribute | None = None
    sources = list[ir.Value]()
    kind = op.result.type
    for operand in (op.lhs, op.rhs):
        inner = _defined_by(operand, TransposeOp)
        if math.prod(shape(operand)) == 1:
            sources.append(operand)
            continue
        if inner is None or shape(operand) != shape(op.result):
            return
        if order is not None and order != inner.permutation:
            return
        order, kind = inner.permutation, inner.x.type
        sources.append(inner.x)
    if order is None:
        return
    lhs, rhs = sources
    if isinstance(op, AddOp):
        moved = AddOp(lhs=lhs, rhs=rhs, result=kind)
    else:
        moved = BinaryOp(lhs=lhs, rhs=rhs, function=op.function, result=kind)
    back = TransposeOp(x=moved.result, permutation=order, result=op.result.type)
    op.result.replace_all_uses_with(back.result)
