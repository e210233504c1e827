"""Attention masks that are added, but only hide --> boolean masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import (
    AddOp,
    AttentionOp,
    BinaryOp,
    BroadcastOp,
    CompareOp,
    ConvertOp,
    MultiplyScalarOp,
    ParameterOp,
    ReshapeOp,
    SelectOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
    UnaryOp,
)
from girih.dialects.mfm.base import element, shape
from girih.dialects.mfm.parameter import widened
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of
from girih.passes.matching import binary, defined_by, number, with_number

HIDDEN = -1e4
"""A score that is this much lower than another has no weight beside it."""


@dataclass(frozen=True)
class BooleanMasks:
    """Turn masks of 0 (visible) and large negative numbers (hidden) into i1.

    ```
    attention(query, key, value, select(visible, 0, -inf))
    -->
    attention(query, key, value, visible)

    softmax(scores + bias + select(visible, 0, -inf))
    -->
    softmax(select(visible, scores + bias, -10000))
    ```
    Integer attention takes no other masks; and a sum with a number that hides would have a scale at
    which scores have no digits left. A query that sees no key then gives 0, where the sum
    of a score and a large finite number would have given an average of all values.
    """

    name: ClassVar[str] = "boolean-masks"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every attention of the module."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                if isinstance(op, AttentionOp):
                    _rewrite(op, compilation)
                elif isinstance(op, SoftmaxOp):
                    _rewrite_softmax(op, compilation)
            erase_unused(function.entry_block)


def _rewrite(op: AttentionOp, compilation: Compilation) -> None:
    if op.mask is None or element(op.mask) != "f32":
        return
    with ir.InsertionPoint(op), op.location:
        visible = _visible(op.mask, compilation)
    if visible is not None:
        op.operation.operands[3] = visible


def _rewrite_softmax(op: SoftmaxOp, compilation: Compilation) -> None:
    added = defined_by(op.x, AddOp)
    if added is None:
        return
    for scores, mask in ((added.lhs, added.rhs), (added.rhs, added.lhs)):
        if shape(scores) != shape(op.x) or len(shape(mask)) > len(shape(op.x)):
            continue
        with ir.InsertionPoint(op), op.location:
            parts = mask_parts(mask, compilation)
            if parts.visible is not None:
                op.operation.operands[0] = masked_scores(scores, parts, compilation)
                return


@dataclass(frozen=True)
class MaskParts:
    """What a mask adds to scores where a key is visible, and which keys are; None: nothing, all."""

    bias: ir.Value | None
    visible: ir.Value | None


def masked_scores(scores: ir.Value, parts: MaskParts, compilation: Compilation) -> ir.Value:
    """Scores with a mask's parts applied: hidden ones are `HIDDEN`."""
    if parts.bias is not None:
        scores = AddOp(lhs=scores, rhs=parts.bias, result=scores.type).result
    if parts.visible is None:
        return scores
    kind = scores.type.element_type
    name = f"scalar.{kind}.{HIDDEN!r}"
    compilation.parameters.setdefault(name, np.asarray(HIDDEN, np.float32))
    hidden = ParameterOp(
        parameter=ir.StringAttr.get(name), result=ir.RankedTensorType.get([], kind)
    ).result
    return SelectOp(condition=parts.visible, lhs=scores, rhs=hidden, result=scores.type).result


def mask_parts(mask: ir.Value, compilation: Compilation) -> MaskParts:
    """A mask taken apart, as far as it is known how it is made."""
    visible = _visible(mask, compilation)
    if visible is not None:
        return MaskParts(None, visible)
    weight, added = defined_by(mask, ParameterOp), defined_by(mask, AddOp)
    chosen = defined_by(mask, SelectOp)
    if weight is not None:
        return _constant_parts(mask, weight, compilation)
    if added is not None:
        return _added_parts(mask, added, compilation)
    if chosen is not None:
        return _chosen_parts(mask, chosen, compilation)
    owner = mask.owner
    if isinstance(owner, ir.Block) or not isinstance(owner.opview, _MOVEMENTS):
        return MaskParts(mask, None)
    source = mask_parts(owner.opview.x, compilation)
    if source.visible is None:
        return MaskParts(mask, None)
    bias = None if source.bias is None else _moved(owner.opview, source.bias, mask.type)
    return MaskParts(bias, _moved(owner.opview, source.visible, _boolean(shape(mask))))


def _constant_parts(mask: ir.Value, weight: ParameterOp, compilation: Compilation) -> MaskParts:
    name = weight.parameter.value
    array = widened(compilation.parameters[name])
    visible = np.asarray(array > HIDDEN)
    if visible.all():
        return MaskParts(mask, None)
    compilation.parameters[f"{name}.visible"] = visible
    compilation.parameters[f"{name}.bias"] = np.where(visible, array, 0).astype(np.float32)
    bias, flags = (
        ParameterOp(parameter=ir.StringAttr.get(f"{name}.{part}"), result=kind).result
        for part, kind in (("bias", mask.type), ("visible", _boolean(array.shape)))
    )
    return MaskParts(bias, flags)


def _added_parts(mask: ir.Value, op: AddOp, compilation: Compilation) -> MaskParts:
    lhs, rhs = mask_parts(op.lhs, compilation), mask_parts(op.rhs, compilation)
    if lhs.visible is None and rhs.visible is None:
        return MaskParts(mask, None)
    bias, visible = lhs.bias or rhs.bias, lhs.visible or rhs.visible
    if lhs.bias is not None and rhs.bias is not None:
        bias = AddOp(lhs=lhs.bias, rhs=rhs.bias, result=mask.type).result
    if lhs.visible is not None and rhs.visible is not None:
        visible = _and(lhs.visible, rhs.visible, shape(mask))
    return MaskParts(bias, visible)


def _chosen_parts(mask: ir.Value, op: SelectOp, compilation: Compilation) -> MaskParts:
    """select(condition, bias, hidden) or select(condition, hidden, bias)."""
    lhs, rhs = (number(value, compilation) for value in (op.lhs, op.rhs))
    if rhs is not None and rhs <= HIDDEN and shape(op.lhs) == shape(mask):
        return MaskParts(op.lhs, op.condition)
    if lhs is not None and lhs <= HIDDEN and shape(op.rhs) == shape(mask):
        name = ir.StringAttr.get("logical_not")
        shown = UnaryOp(x=op.condition, function=name, result=op.condition.type).result
        return MaskParts(op.rhs, shown)
    return MaskParts(mask, None)


def _visible(mask: ir.Value, compilation: Compilation) -> ir.Value | None:
    """The i1 tensor that is true where the mask is 0; None where it holds other numbers."""
    weight = defined_by(mask, ParameterOp)
    if weight is not None:
        return _constant(weight, compilation)
    chosen = defined_by(mask, SelectOp)
    if chosen is not None:
        return _chosen(chosen, compilation)
    added = defined_by(mask, AddOp)
    if added is not None:
        return _both(mask, added, compilation)
    if (inverted := _inverted(mask, compilation)) is not None:
        return inverted
    owner = mask.owner
    if isinstance(owner, ir.Block):
        return None
    op = owner.opview
    if not isinstance(op, _MOVEMENTS):
        return None
    source = _visible(op.x, compilation)
    return None if source is None else _moved(op, source, _boolean(shape(mask)))


_MOVEMENTS = (BroadcastOp, ReshapeOp, SliceOp, TransposeOp)


def _moved(op: ir.OpView, source: ir.Value, kind: ir.Type) -> ir.Value:
    """The same movement of another value."""
    attributes = {name: op.operation.attributes[name] for name in op.operation.attributes}
    return ir.Operation.create(op.operation.name, [kind], [source], attributes).result


def _constant(weight: ParameterOp, compilation: Compilation) -> ir.Value | None:
    name = weight.parameter.value
    array = widened(compilation.parameters[name])
    if not ((array == 0) | (array <= HIDDEN)).all():
        return None
    compilation.parameters[f"{name}.visible"] = np.asarray(array == 0)
    return ParameterOp(
        parameter=ir.StringAttr.get(f"{name}.visible"), result=_boolean(array.shape)
    ).result


def _chosen(op: SelectOp, compilation: Compilation) -> ir.Value | None:
    """select(condition, 0, hidden) or select(condition, hidden, mask)."""
    lhs, rhs = (number(value, compilation) for value in (op.lhs, op.rhs))
    condition = op.condition
    if lhs == 0 and rhs is not None and rhs <= HIDDEN:
        return condition if shape(condition) == shape(op.result) else None
    if lhs is None or lhs > HIDDEN:
        return None
    shown = UnaryOp(
        x=condition, function=ir.StringAttr.get("logical_not"), result=condition.type
    ).result
    if rhs == 0:
        return shown if shape(condition) == shape(op.result) else None
    rest = _visible(op.rhs, compilation)
    return None if rest is None else _and(shown, rest, shape(op.result))


def _both(mask: ir.Value, op: AddOp, compilation: Compilation) -> ir.Value | None:
    """A key is visible that neither of two masks hides."""
    lhs = _visible(op.lhs, compilation)
    rhs = None if lhs is None else _visible(op.rhs, compilation)
    return None if lhs is None or rhs is None else _and(lhs, rhs, shape(mask))


def _and(lhs: ir.Value, rhs: ir.Value, sizes: tuple[int, ...]) -> ir.Value:
    name = ir.StringAttr.get("and")
    return BinaryOp(lhs=lhs, rhs=rhs, function=name, result=_boolean(sizes)).result


def _inverted(mask: ir.Value, compilation: Compilation) -> ir.Value | None:
    """(1 - m) * hidden, m 1 where visible and 0 where not."""
    scaled = defined_by(mask, MultiplyScalarOp)
    product = binary(mask, "multiply")
    found = None if product is None else with_number(product, compilation)
    if scaled is not None:
        found = scaled.x, scaled.factor.value
    if found is None or found[1] > HIDDEN:
        return None
    rest = binary(found[0], "subtract")
    if rest is None or number(rest.lhs, compilation) != 1 or shape(rest.rhs) != shape(mask):
        return None
    return _as_boolean(rest.rhs)


def _as_boolean(value: ir.Value) -> ir.Value | None:
    """The condition, or the number compared with 0, that was converted to the value."""
    converted = defined_by(value, ConvertOp)
    if converted is None:
        moved = defined_by(value, ReshapeOp)
        source = None if moved is None else _as_boolean(moved.x)
        if source is None:
            return None
        return ReshapeOp(x=source, result=_boolean(shape(value))).result
    if element(converted.x) == "i1":
        return converted.x
    zero = BinaryOp(
        lhs=converted.x,
        rhs=converted.x,
        function=ir.StringAttr.get("subtract"),
        result=converted.x.type,
    ).result
    return CompareOp(
        lhs=converted.x,
        rhs=zero,
        predicate=ir.StringAttr.get("ne"),
        result=_boolean(shape(value)),
    ).result


def _boolean(sizes: tuple[int, ...]) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(list(sizes), ir.IntegerType.get_signless(1))
