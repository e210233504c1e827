"""Tensor operations that the lowerings are made of: elementwise, reductions, products, movement."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import arith, linalg, tensor

from girih.passes.mfm_to_linalg import scalar

Shape = tuple[int, ...]
Body = Callable[..., ir.Value]


def shape(value: ir.Value) -> Shape:
    """Static shape of a tensor value."""
    return tuple(ir.RankedTensorType(value.type).shape)


def element(value: ir.Value) -> ir.Type:
    """Element type of a tensor value."""
    return ir.RankedTensorType(value.type).element_type


def width(value: ir.Value) -> int:
    """Bits of a tensor value's integer elements."""
    return ir.IntegerType(element(value)).width


def tensor_type(sizes: Sequence[int], element_type: ir.Type) -> ir.RankedTensorType:
    """The ranked tensor type of a static shape."""
    return ir.RankedTensorType.get(list(sizes), element_type)


def empty(sizes: Sequence[int], element_type: ir.Type) -> ir.Value:
    """A tensor whose elements are not yet defined."""
    return tensor.EmptyOp(list(sizes), element_type).result


def filled(sizes: Sequence[int], element_type: ir.Type, value: float) -> ir.Value:
    """A tensor of one value."""
    initial = scalar.constant(value, element_type)
    return linalg.fill(initial, outs=[empty(sizes, element_type)])


def dense(values: NDArray[np.signedinteger[Any]]) -> ir.Value:
    """A small constant tensor."""
    kind = tensor_type(values.shape, scalar.integer_type(8 * values.itemsize))
    attribute = ir.DenseElementsAttr.get(np.ascontiguousarray(values), type=kind.element_type)
    return arith.ConstantOp(kind, attribute).result


def dimensions(rank: int, axes: Sequence[int]) -> ir.AffineMap:
    """The indexing map that picks loop axes: ``(d0, d1, ...) -> (d[axes[0]], ...)``."""
    return ir.AffineMap.get(rank, 0, [ir.AffineExpr.get_dim(axis) for axis in axes])


def generic(
    inputs: Sequence[tuple[ir.Value, ir.AffineMap]],
    outputs: Sequence[tuple[ir.Value, ir.AffineMap]],
    iterators: Sequence[str],
    body: Callable[..., Sequence[ir.Value]],
) -> list[ir.Value]:
    """``linalg.generic``: `body` gets one scalar per input and output and returns the outputs'."""
    operation = linalg.GenericOp(
        [value.type for value, _ in outputs],
        [value for value, _ in inputs],
        [value for value, _ in outputs],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(map_) for _, map_ in [*inputs, *outputs]]),
        ir.ArrayAttr.get(
            [ir.Attribute.parse(f"#linalg.iterator_type<{iterator}>") for iterator in iterators]
        ),
    )
    types = [element(value) for value, _ in [*inputs, *outputs]]
    block = operation.regions[0].blocks.append(*types)
    with ir.InsertionPoint(block):
        linalg.YieldOp(list(body(*block.arguments)))
    return list(operation.results)


def elementwise(
    inputs: Sequence[ir.Value | tuple[ir.Value, Sequence[int]]],
    sizes: Sequence[int],
    element_type: ir.Type,
    body: Body,
) -> ir.Value:
    """A tensor of `sizes`, each element the body's value of the inputs' elements.

    An input is a tensor that broadcasts to `sizes` as NumPy does, or a tensor with the axes of
    the result that index it.
    """
    rank = len(sizes)
    operands: list[tuple[ir.Value, ir.AffineMap]] = []
    for given in inputs:
        value, axes = given if isinstance(given, tuple) else broadcast_axes(given, sizes)
        operands.append((value, dimensions(rank, axes)))
    out = (empty(sizes, element_type), dimensions(rank, range(rank)))
    count = len(operands)
    return generic(operands, [out], ["parallel"] * rank, lambda *scalars: [body(*scalars[:count])])[
        0
    ]


def broadcast_axes(value: ir.Value, sizes: Sequence[int]) -> tuple[ir.Value, list[int]]:
    """The value without the axes along which it broadcasts to `sizes`, and the axes it keeps."""
    own = shape(value)
    offset = len(sizes) - len(own)
    kept = [axis for axis, size in enumerate(own) if size == sizes[axis + offset]]
    return reshape(value, [own[axis] for axis in kept]), [axis + offset for axis in kept]


def reduce_last(
    inputs: Sequence[ir.Value | tuple[ir.Value, Sequence[int]]],
    sizes: Sequence[int],
    element_type: ir.Type,
    initial: float,
    body: Body,
) -> ir.Value:
    """Reduce the last axis of `sizes`: body(*elements, accumulator) is the new accumulator."""
    rank = len(sizes)
    operands: list[tuple[ir.Value, ir.AffineMap]] = []
    for given in inputs:
        value, axes = given if isinstance(given, tuple) else broadcast_axes(given, sizes)
        operands.append((value, dimensions(rank, axes)))
    out = (filled(sizes[:-1], element_type, initial), dimensions(rank, range(rank - 1)))
    iterators = ["parallel"] * (rank - 1) + ["reduction"]
    return generic(operands, [out], iterators, lambda *scalars: [body(*scalars)])[0]


def matmul(lhs: ir.Value, rhs: ir.Value, accumulator: ir.Type) -> ir.Value:
    """``lhs @ rhs.T``: (M, K), (N, K) -> (M, N), or with one leading batch axis on each."""
    *batch, rows, _ = shape(lhs)
    columns = shape(rhs)[-2]
    out = filled([*batch, rows, columns], accumulator, 0)
    if batch:
        maps = _maps(4, [0, 1, 3], [0, 2, 3], [0, 1, 2])
        return linalg.batch_matmul(lhs, rhs, outs=[out], indexing_maps=maps)
    maps = _maps(3, [0, 2], [1, 2], [0, 1])
    return linalg.matmul(lhs, rhs, outs=[out], indexing_maps=maps)


def _maps(rank: int, *axes: list[int]) -> ir.ArrayAttr:
    return ir.ArrayAttr.get([ir.AffineMapAttr.get(dimensions(rank, each)) for each in axes])


def reshape(value: ir.Value, sizes: Sequence[int]) -> ir.Value:
    """The same elements in row-major order: collapse, then expand, where each is needed."""
    target = tuple(sizes)
    if shape(value) == target:
        return value
    groups = _common_groups(shape(value), target)
    middle = [math.prod(shape(value)[axis] for axis in own) for own, _ in groups]
    if len(middle) != len(shape(value)):
        value = tensor.CollapseShapeOp(
            tensor_type(middle, element(value)),
            value,
            _association([own for own, _ in groups]),
        ).result
    if len(middle) != len(target):
        value = tensor.ExpandShapeOp(
            tensor_type(target, element(value)),
            value,
            _association([out for _, out in groups]),
            [],
            list(target),
        ).result
    return value


def _association(groups: list[list[int]]) -> ir.ArrayAttr:
    index = scalar.integer_type(64)
    return ir.ArrayAttr.get(
        [ir.ArrayAttr.get([ir.IntegerAttr.get(index, axis) for axis in group]) for group in groups]
    )


def _common_groups(source: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """Split both shapes into the shortest runs of axes with equal products, in order."""
    if not source or not target:
        # A scalar collapses and expands with no groups at all.
        return []
    groups: list[tuple[list[int], list[int]]] = []
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
    # What remains has size one: it belongs to the last group.
    groups[-1][0].extend(range(i, len(source)))
    groups[-1][1].extend(range(j, len(target)))
    return groups


def transpose(value: ir.Value, permutation: Sequence[int]) -> ir.Value:
    """Axis i of the result is axis permutation[i] of the value."""
    if list(permutation) == list(range(len(permutation))):
        return value
    own = shape(value)
    out = empty([own[axis] for axis in permutation], element(value))
    operation = linalg.transpose(value, outs=[out], permutation=list(permutation))
    return operation.results[0]


def slice_(
    value: ir.Value,
    offsets: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    *,
    drop: Sequence[int] = (),
) -> ir.Value:
    """Elements offset, offset + stride, ... along each axis, without the unit axes in `drop`."""
    kept = [size for axis, size in enumerate(sizes) if axis not in drop]
    return tensor.ExtractSliceOp(
        tensor_type(kept, element(value)),
        value,
        [],
        [],
        [],
        list(offsets),
        list(sizes),
        list(strides or [1] * len(sizes)),
    ).result


def take(value: ir.Value, index: ir.Value, axis: int = 0) -> ir.Value:
    """Element `index`, an `index` value, of an axis."""
    sizes = list(shape(value))
    offsets = [0] * len(sizes)
    offsets[axis] = ir.ShapedType.get_dynamic_size()
    kept = sizes[:axis] + sizes[axis + 1 :]
    sizes[axis] = 1
    return tensor.ExtractSliceOp(
        tensor_type(kept, element(value)), value, [index], [], [], offsets, sizes, [1] * len(sizes)
    ).result


def row(table: ir.Value, index: int) -> ir.Value:
    """Row `index` of a matrix."""
    columns = shape(table)[1]
    return slice_(table, [index, 0], [1, columns], drop=[0])


def insert_slice(value: ir.Value, into: ir.Value, offsets: Sequence[int | ir.Value]) -> ir.Value:
    """`into` with the elements from the offsets on replaced by the value, of the same rank."""
    dynamic = [offset for offset in offsets if isinstance(offset, ir.Value)]
    mark = ir.ShapedType.get_dynamic_size()
    static = [mark if isinstance(offset, ir.Value) else offset for offset in offsets]
    sizes = list(shape(value))
    return tensor.InsertSliceOp(
        value, into, dynamic, [], [], static, sizes, [1] * len(sizes)
    ).result


def pad(value: ir.Value, low: Sequence[int], high: Sequence[int], fill: float = 0) -> ir.Value:
    """The value with `low` and `high` elements of `fill` before and after along each axis."""
    if not any(low) and not any(high):
        return value
    sizes = [b + size + a for size, b, a in zip(shape(value), low, high, strict=True)]
    operation = tensor.PadOp(
        tensor_type(sizes, element(value)), value, [], [], list(low), list(high)
    )
    index = ir.IndexType.get()
    block = operation.regions[0].blocks.append(*[index] * len(sizes))
    with ir.InsertionPoint(block):
        tensor.YieldOp(scalar.constant(fill, element(value)))
    return operation.result


def as_bytes(mask: ir.Value) -> ir.Value:
    """An i1 tensor as i8, 0 or 1."""
    i8 = scalar.integer_type(8)
    return elementwise([mask], shape(mask), i8, lambda flag: arith.ExtUIOp(i8, flag).result)


def barrier(value: ir.Value) -> ir.Value:
    """The value, computed on its own: IREE fuses nothing across this.

    Not `util.optimization_barrier`: that also makes the host wait for all work before it, and IREE
    3.13 takes time exponential in the number of such waits (its pass reuse-allocations follows
    every path through them; 48 layers with one each never ended).
    """
    return ir.Operation.create(
        "iree_tensor_ext.compute_barrier.start", results=[value.type], operands=[value]
    ).results[0]


def opaque(value: int) -> ir.Value:
    """An `index` that the compiler does not know."""
    index = ir.IndexType.get()
    number = scalar.constant(value, index)
    return ir.Operation.create(
        "util.optimization_barrier", results=[index], operands=[number]
    ).results[0]


def bitcast(value: ir.Value, sizes: Sequence[int], bits: int) -> ir.Value:
    """The same bytes as integers of another width, in another shape."""
    return ir.Operation.create(
        "flow.tensor.bitcast",
        results=[tensor_type(sizes, scalar.integer_type(bits))],
        operands=[value],
        attributes={"operandSegmentSizes": ir.DenseI32ArrayAttr.get([1, 0, 0])},
    ).results[0]


def together(result: ir.Type, body: Callable[[], ir.Value]) -> ir.Value:
    """What the body builds, as one unit of work (IREE's `flow.dispatch.region`).

    Elsewhere IREE chooses what to compute together, and with what tiles.
    """
    operation = ir.Operation.create(
        "flow.dispatch.region",
        results=[result],
        attributes={"operandSegmentSizes": ir.DenseI32ArrayAttr.get([0, 0])},
        regions=2,
    )
    with ir.InsertionPoint(operation.regions[0].blocks.append()):
        ir.Operation.create("flow.return", operands=[body()])
    return operation.results[0]


def extract(value: ir.Value, indices: Sequence[ir.Value]) -> ir.Value:
    """One element of a tensor, inside a body, at `index` values."""
    return tensor.ExtractOp(value, list(indices)).result


def loop_index(axis: int, bits: int | None = None) -> ir.Value:
    """The body's position along a loop axis, as `index` or as an integer."""
    position = linalg.IndexOp(ir.IntegerAttr.get(scalar.integer_type(64), axis)).result
    if bits is None:
        return position
    return arith.IndexCastOp(scalar.integer_type(bits), position).result


def round_up(value: int, multiple: int) -> int:
    """The next multiple at or above a value."""
    return -(-value // multiple) * multiple
