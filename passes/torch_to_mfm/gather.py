"""Reads and writes at positions that are known at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import (
    AddOp,
    BinaryOp,
    CompareOp,
    GatherOp,
    MaskedScatterOp,
    ScatterRowsOp,
    SelectOp,
    TakeOp,
)
from girih.dialects.mfm.base import element, shape
from girih.passes.torch_to_mfm.reduction import reduced
from girih.passes.torch_to_mfm.rewriter import (
    Converter,
    NotConvertibleError,
    Rewriter,
    axis_of,
    element_count,
    integer_attribute,
)


def _indices(rewriter: Rewriter, value: ir.Value, size: int) -> ir.Value:
    """Indices as i64, negative ones counted from the end."""
    indices = rewriter.converted(value, ir.IntegerType.get_signless(64))
    owner = indices.owner
    if not isinstance(owner, ir.Block) and owner.name == "mfm.parameter":
        array = rewriter.array(indices)
        if array.size == 0 or array.min() >= 0:
            return indices
    zero = rewriter.scalar(0, indices.type.element_type)
    flags = ir.RankedTensorType.get(indices.type.shape, ir.IntegerType.get_signless(1))
    is_negative = CompareOp(
        lhs=indices, rhs=zero, predicate=ir.StringAttr.get("lt"), result=flags
    ).result
    extent = rewriter.scalar(size, indices.type.element_type)
    wrapped = AddOp(lhs=indices, rhs=extent, result=indices.type).result
    return SelectOp(condition=is_negative, lhs=wrapped, rhs=indices, result=indices.type).result


def _take(x: ir.Value, indices: ir.Value, axis: int) -> ir.Value:
    sizes = [*shape(x)[:axis], *shape(indices), *shape(x)[axis + 1 :]]
    result = ir.RankedTensorType.get(sizes, x.type.element_type)
    return TakeOp(x=x, indices=indices, axis=integer_attribute(axis), result=result).result


def index_select(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.index_select(x, axis, indices)."""
    x, indices = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[2])
    axis = axis_of(rewriter.constant(op.operands[1]), len(shape(x)))
    indices = rewriter.reshape(indices, [element_count(shape(indices))])
    return _take(x, _indices(rewriter, indices, shape(x)[axis]), axis)


def _index_list(rewriter: Rewriter, value: ir.Value) -> list[ir.Value | None]:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != "torch.prim.ListConstruct":
        raise NotConvertibleError("the indices come as a list that is computed")
    return [None if rewriter.is_none(each) else rewriter.tensor(each) for each in owner.operands]


def _linear_index(
    rewriter: Rewriter, x: ir.Value, given: list[ir.Value | None]
) -> tuple[int, int, ir.Value]:
    """Neighbouring indexed axes as one: (first, one behind the last, index into their product)."""
    axes = [axis for axis, each in enumerate(given) if each is not None]
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise NotConvertibleError("indices of axes that are not neighbours have no mfm form")
    tensors = [each for each in given if each is not None]
    if any(element(each) == "i1" for each in tensors):
        raise NotConvertibleError("a boolean index has a result whose shape depends on data")
    common = list(np.broadcast_shapes(*(shape(each) for each in tensors)))
    total: ir.Value | None = None
    kind = ir.RankedTensorType.get(common, ir.IntegerType.get_signless(64))
    for axis, each in zip(axes, tensors, strict=True):
        index = _indices(rewriter, each, shape(x)[axis])
        if total is None:
            total = index if shape(index) == tuple(common) else rewriter.broadcast(index, common)
            continue
        extent = rewriter.scalar(shape(x)[axis], kind.element_type)
        multiply = ir.StringAttr.get("multiply")
        scaled = BinaryOp(lhs=total, rhs=extent, function=multiply, result=kind).result
        total = AddOp(lhs=scaled, rhs=index, result=kind).result
    assert total is not None
    return axes[0], axes[-1] + 1, total


def _merged(rewriter: Rewriter, x: ir.Value, first: int, end: int) -> ir.Value:
    sizes = shape(x)
    return rewriter.reshape(x, [*sizes[:first], element_count(sizes[first:end]), *sizes[end:]])


def index(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.index.Tensor(x, indices) with indices of neighbouring axes."""
    x = rewriter.tensor(op.operands[0])
    given = _index_list(rewriter, op.operands[1])
    first, end, linear = _linear_index(rewriter, x, given)
    return _take(_merged(rewriter, x, first, end), linear, first)


def index_put(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.index_put(x, indices, values, accumulate = False) with neighbouring axes."""
    x, values = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[2])
    if rewriter.constant(op.operands[3]):
        raise NotConvertibleError("accumulating writes have no mfm form")
    given = _index_list(rewriter, op.operands[1])
    if len(given) == 1 and given[0] is not None and element(given[0]) == "i1":
        return _masked_put(rewriter, x, given[0], values)
    first, end, linear = _linear_index(rewriter, x, given)
    merged = _merged(rewriter, x, first, end)
    count = element_count(shape(linear))
    rows = [*shape(merged)[:first], count, *shape(merged)[first + 1 :]]
    indexed = [*shape(merged)[:first], *shape(linear), *shape(merged)[first + 1 :]]
    values = rewriter.converted(values, x.type.element_type)
    written = ScatterRowsOp(
        x=merged,
        indices=rewriter.reshape(linear, [count]),
        rows=rewriter.reshape(rewriter.broadcast(values, indexed), rows),
        axis=integer_attribute(first),
        result=merged.type,
    ).result
    return rewriter.reshape(written, shape(x))


def _masked_put(rewriter: Rewriter, x: ir.Value, mask: ir.Value, values: ir.Value) -> ir.Value:
    """``x[mask] = values``, one value for all."""
    if element_count(shape(values)) != 1:
        raise NotConvertibleError("writing several values under a mask has no mfm form")
    flag = rewriter.reshape(mask, [*shape(mask), *[1] * (len(shape(x)) - len(shape(mask)))])
    value = rewriter.reshape(rewriter.converted(values, x.type.element_type), [])
    return SelectOp(condition=flag, lhs=value, rhs=x, result=x.type).result


def gather(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.gather(x, axis, indices)."""
    x, indices = rewriter.tensor(op.operands[0]), rewriter.tensor(op.operands[2])
    axis = axis_of(rewriter.constant(op.operands[1]), len(shape(x)))
    result = ir.RankedTensorType.get(indices.type.shape, x.type.element_type)
    return GatherOp(x=x, indices=indices, axis=integer_attribute(axis), result=result).result


def masked_scatter(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.masked_scatter(x, mask, source)."""
    x, mask, source = (rewriter.tensor(operand) for operand in list(op.operands)[:3])
    mask = rewriter.broadcast(mask, shape(x))
    return MaskedScatterOp(x=x, mask=mask, source=source, result=x.type).result


_LARGEST_CHOICE = 1 << 22
"""Comparisons of positions that a scatter may be made of."""


def scatter(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.scatter(x, axis, indices, source or number): the last source that points to a place."""
    x = rewriter.tensor(op.operands[0])
    points, axis = _points(rewriter, op, x)
    if "vtensor" not in str(op.operands[3].type):
        number = rewriter.scalar(rewriter.constant(op.operands[3]), x.type.element_type)
        is_hit = reduced(rewriter, points, "any", [axis])
        return SelectOp(condition=is_hit, lhs=number, rhs=x, result=x.type).result
    source = _source(rewriter, op, x)
    counted = rewriter.parameter(*_numbered("steps", shape(points), axis, 1), _integer(64))
    zero = rewriter.scalar(0, _integer(64))
    kind = ir.RankedTensorType.get(shape(points), _integer(64))
    steps = SelectOp(condition=points, lhs=counted, rhs=zero, result=kind).result
    last = reduced(rewriter, steps, "maximum", [axis])
    one = rewriter.scalar(1, _integer(64))
    is_hit = _compared("ge", last, one)
    before = BinaryOp(
        lhs=BinaryOp(
            lhs=last, rhs=one, function=ir.StringAttr.get("maximum"), result=last.type
        ).result,
        rhs=one,
        function=ir.StringAttr.get("subtract"),
        result=last.type,
    ).result
    taken = GatherOp(x=source, indices=before, axis=integer_attribute(axis), result=x.type).result
    return SelectOp(condition=is_hit, lhs=taken, rhs=x, result=x.type).result


def scatter_add(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
    """aten.scatter_add(x, axis, indices, source)."""
    x = rewriter.tensor(op.operands[0])
    points, axis = _points(rewriter, op, x)
    source = _source(rewriter, op, x)
    column = [*shape(source)[: axis + 1], 1, *shape(source)[axis + 1 :]]
    kind = x.type.element_type
    chosen = SelectOp(
        condition=points,
        lhs=rewriter.reshape(source, column),
        rhs=rewriter.scalar(0, kind),
        result=ir.RankedTensorType.get(shape(points), kind),
    ).result
    return AddOp(lhs=x, rhs=reduced(rewriter, chosen, "sum", [axis]), result=x.type).result


def _points(rewriter: Rewriter, op: ir.OpView, x: ir.Value) -> tuple[ir.Value, int]:
    """Whether each index along the axis points to each place along the next; the axis."""
    indices = rewriter.tensor(op.operands[2])
    sizes, found = list(shape(x)), list(shape(indices))
    axis = axis_of(rewriter.constant(op.operands[1]), len(sizes))
    if sizes[:axis] + sizes[axis + 1 :] != found[:axis] + found[axis + 1 :]:
        raise NotConvertibleError("a scatter of fewer rows than there are has no mfm form")
    wide = [*found[: axis + 1], sizes[axis], *found[axis + 1 :]]
    if element_count(wide) > _LARGEST_CHOICE:
        raise NotConvertibleError(f"a scatter of {element_count(wide)} choices has no mfm form")
    column = [*found[: axis + 1], 1, *found[axis + 1 :]]
    known = rewriter.reshape(_indices(rewriter, indices, sizes[axis]), column)
    places = rewriter.parameter(*_numbered("places", wide, axis + 1, 0), _integer(64))
    return _compared("eq", known, places), axis


def _source(rewriter: Rewriter, op: ir.OpView, x: ir.Value) -> ir.Value:
    source = rewriter.tensor(op.operands[3])
    if shape(source) != shape(rewriter.tensor(op.operands[2])):
        raise NotConvertibleError("a scatter of part of its source has no mfm form")
    return rewriter.converted(source, x.type.element_type)


def _numbered(what: str, sizes: Sequence[int], axis: int, first: int) -> tuple[str, Any]:
    """(name, array): numbers along an axis from `first` on, to be broadcast over the others."""
    extents = [sizes[axis], *[1] * (len(sizes) - axis - 1)]
    name = f"{what}.{'x'.join(str(size) for size in extents)}"
    return name, np.arange(first, first + sizes[axis]).reshape(extents)


def _integer(bits: int) -> ir.IntegerType:
    return ir.IntegerType.get_signless(bits)


def _compared(predicate: str, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    sizes = np.broadcast_shapes(shape(lhs), shape(rhs))
    return CompareOp(
        lhs=lhs,
        rhs=rhs,
        predicate=ir.StringAttr.get(predicate),
        result=ir.RankedTensorType.get(list(sizes), _integer(1)),
    ).result


CONVERTERS: dict[str, Converter] = {
    "torch.aten.scatter.src": scatter,
    "torch.aten.scatter.value": scatter,
    "torch.aten.scatter_add": scatter_add,
    "torch.aten.index_select": index_select,
    "torch.aten.index.Tensor": index,
    "torch.aten.index_put": index_put,
    "torch.aten.gather": gather,
    "torch.aten.masked_scatter": masked_scatter,
}
