"""Leaves of a quantized function what one of several devices computes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects import mfm
from girih.dialects.mfm.assembly import BroadcastOp, ConcatenateOp, PadOp
from girih.dialects.mfm.base import numpy_dtype, shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.quantization.plan import is_weight
from girih.passes.states import state_of
from girih.runtime.errors import CompilationError

ALL_REDUCE = "mfm.all_reduce"
"""Attribute of a product whose result the devices must add up: its bytes."""
ALL_GATHER = "mfm.all_gather"
"""Attribute of a function: bytes of each result of which every device has a part."""

_POINTWISE = (
    mfm.BinaryOp,
    mfm.ConvertOp,
    mfm.DequantizeOp,
    mfm.IntegerAddOp,
    mfm.IntegerGeluOp,
    mfm.IntegerMultiplyOp,
    mfm.MultiplyScalarOp,
    mfm.QuantizeOp,
    mfm.RescaleOp,
    mfm.UnaryOp,
)
_NORMS = (mfm.IntegerLayerNormOp, mfm.IntegerRmsNormOp)


@dataclass(frozen=True)
class ShardTensors:
    """Split products among devices as Megatron-LM does, and keep one device's share.

    ```
    %q = integer_linear(%x, %wq)   split by outputs: each device has some heads
    %a = integer_attention(%q, ...)  computes them
    %y = integer_linear(%a, %wo)   split by inputs: the results must be added up
    -->
    the same with 1 / devices of the columns, heads and rows; %y has mfm.all_reduce = its bytes
    ```
    (Shoeybi et al. 2019, section 3.) A product is split by outputs where all that reads it can work
    on a part, up to products that take the parts as their inputs or to a result of the function,
    which is then gathered. All else is on every device. Weights keep no values: what remains is
    good for timing. Refuses heads and columns that the devices cannot share equally.
    """

    name: ClassVar[str] = "shard-tensors"
    devices: int = 2

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function of the module."""
        if self.devices < 1:
            raise CompilationError(f"shard-tensors needs devices, found {self.devices}")
        for function in module.body.operations:
            if isinstance(function, func.FuncOp) and self.devices > 1:
                _shard(function, self.devices)


class _ConflictError(Exception):
    """An operation that cannot work on parts of what it reads; the products that split it."""

    def __init__(self, sources: frozenset[ir.Operation]) -> None:
        super().__init__()
        self.sources = sources


@dataclass
class _Splits:
    """Which axis of each value is split, and the products that began it."""

    devices: int
    axis: dict[ir.Value, int] = field(default_factory=dict[ir.Value, int])
    sources: dict[ir.Value, frozenset[ir.Operation]] = field(
        default_factory=dict[ir.Value, frozenset[ir.Operation]]
    )
    uneven: list[str] = field(default_factory=list[str])
    reduced: list[ir.OpView] = field(default_factory=list[ir.OpView])
    gathered: list[ir.Value] = field(default_factory=list[ir.Value])

    def split(
        self, value: ir.Value, axis: int, sources: frozenset[ir.Operation], what: str
    ) -> None:
        size = shape(value)[axis]
        if size % self.devices:
            self.uneven.append(f"{size} {what}")
        self.axis[value] = axis
        self.sources[value] = sources

    def conflict(self, op: ir.OpView) -> _ConflictError:
        found = [self.sources[each] for each in op.operands if each in self.sources]
        return _ConflictError(frozenset().union(*found))


def _shard(function: func.FuncOp, devices: int) -> None:
    block = function.entry_block
    kinds = (mfm.IntegerLinearOp, mfm.IntegerConv1dOp)
    products = {op.operation for op in block.operations if isinstance(op, kinds)}
    while True:
        splits = _Splits(devices)
        try:
            for op in block.operations:
                _visit(op, function, splits, products)
        except _ConflictError as conflict:
            products -= conflict.sources
            continue
        break
    if splits.uneven:
        found = ", ".join(dict.fromkeys(splits.uneven))
        raise CompilationError(
            f"{devices} devices cannot share {found} of entry {function.name.value!r} equally: "
            "choose a count that divides them, or parallel: pipeline"
        )
    _rewrite(function, splits)


def _visit(
    op: ir.OpView, function: func.FuncOp, splits: _Splits, products: set[ir.Operation]
) -> None:
    """Find the split of an operation's result; raise `_ConflictError` where there is none."""
    if isinstance(op, mfm.ParameterOp):
        return
    if isinstance(op, func.ReturnOp):
        _return(op, function, splits)
        return
    if isinstance(op, mfm.IntegerLinearOp | mfm.IntegerConv1dOp) and op.x not in splits.axis:
        columns = shape(op.result)[-1]
        is_result = all(isinstance(use.owner, func.ReturnOp) for use in op.result.uses)
        if op.operation in products and not (is_result and columns % splits.devices):
            last = len(shape(op.result)) - 1
            splits.split(op.result, last, frozenset([op.operation]), "columns")
        return
    if isinstance(op, mfm.CacheUpdateOp | mfm.IntegerAttentionOp):
        _states(op, function, splits)
    found = [each for each in op.operands if each in splits.axis]
    if not found:
        return
    if len(op.results) != 1:
        raise splits.conflict(op)
    sources = frozenset().union(*(splits.sources[each] for each in found))
    if isinstance(op, mfm.IntegerLinearOp):
        if splits.axis[op.x] != len(shape(op.x)) - 1:
            raise splits.conflict(op)
        splits.reduced.append(op)
        return
    axis = _result_axis(op, splits)
    if axis is None:
        raise splits.conflict(op)
    apart = len(shape(op.results[0])) > len(shape(op.operands[0]))
    what = "heads" if isinstance(op, mfm.ReshapeOp) and apart else "columns"
    splits.split(op.results[0], axis, sources, what)


def _return(op: func.ReturnOp, function: func.FuncOp, splits: _Splits) -> None:
    for index, value in enumerate(op.operands):
        if value in splits.axis and state_of(function, "res_attrs", index) is None:
            splits.gathered.append(value)


def _states(op: ir.OpView, function: func.FuncOp, splits: _Splits) -> None:
    """A state that lies in the devices' memories lies there in parts where its readers want so."""
    wanted = [splits.axis[each] for each in op.operands if each in splits.axis]
    if not wanted:
        return
    sources = splits.conflict(op).sources
    arguments = list(function.entry_block.arguments)
    names = ("cache",) if isinstance(op, mfm.CacheUpdateOp) else ("key", "value")
    for value in (getattr(op, name) for name in names):
        if value in splits.axis or value not in arguments:
            continue
        if state_of(function, "arg_attrs", arguments.index(value)) is not None:
            splits.split(value, wanted[0], sources, "heads")


def _result_axis(op: ir.OpView, splits: _Splits) -> int | None:
    """The axis of the result that is split; None where the operation needs the whole."""
    result = op.results[0]
    if isinstance(op, _POINTWISE):
        return _aligned(op, splits, len(shape(result)))
    if isinstance(op, _NORMS):
        axis = splits.axis[op.x]
        return axis if axis < len(shape(op.x)) - 1 else None
    match op:
        case mfm.ReshapeOp():
            return _reshaped(shape(op.x), shape(result), splits.axis[op.x], splits.devices)
        case mfm.TransposeOp():
            return list(op.permutation).index(splits.axis[op.x])
        case mfm.SliceOp() | PadOp():
            axis = splits.axis[op.x]
            return axis if shape(op.x)[axis] == shape(result)[axis] else None
        case BroadcastOp():
            axis = splits.axis[op.x] + len(shape(result)) - len(shape(op.x))
            return axis if shape(op.x)[splits.axis[op.x]] == shape(result)[axis] else None
        case ConcatenateOp():
            axes = {splits.axis.get(part) for part in op.parts}
            axis = axes.pop()
            return None if axes or axis == op.axis.value else axis
        case mfm.CacheUpdateOp():
            axes = {splits.axis.get(op.cache), splits.axis.get(op.rows)}
            return axes.pop() if len(axes) == 1 else None
        case mfm.IntegerAttentionOp():
            axes = {splits.axis.get(each) for each in (op.query, op.key, op.value)}
            whole = op.mask is None or op.mask not in splits.axis
            alike = op.mask is None or len(shape(op.mask)) < 4 or shape(op.mask)[1] == 1
            return 2 if axes == {2} and whole and alike else None
        case _:
            return None


def _aligned(op: ir.OpView, splits: _Splits, rank: int) -> int | None:
    """Operands broadcast to each other from the last axis: split alike, or the same for all."""
    axes = {splits.axis[each] - len(shape(each)) for each in op.operands if each in splits.axis}
    if len(axes) != 1:
        return None
    axis = axes.pop()
    for each in op.operands:
        spread = -axis <= len(shape(each)) and shape(each)[axis] > 1
        if each not in splits.axis and spread and not is_weight(each):
            return None
    return rank + axis


def _reshaped(before: Sequence[int], after: Sequence[int], axis: int, devices: int) -> int | None:
    """Where the outermost part of an axis goes."""
    leading = prod(before[:axis])
    for index, size in enumerate(after):
        if prod(after[:index]) == leading and size > 1:
            # Heads that the devices cannot share are refused later, by their number.
            return index if before[axis] % size == 0 or size % before[axis] == 0 else None
    return None


def _rewrite(function: func.FuncOp, splits: _Splits) -> None:
    block, devices = function.entry_block, splits.devices
    gathered = [_bytes(value) for value in splits.gathered]
    for op in list(block.operations):
        axis = splits.axis.get(op.results[0]) if len(op.results) == 1 else None
        if op in splits.reduced:
            _narrow(op, "weight", 1, devices)
            op.operation.attributes[ALL_REDUCE] = _number(_bytes(op.results[0]))
        elif isinstance(op, mfm.IntegerLinearOp | mfm.IntegerConv1dOp) and axis is not None:
            _narrow(op, "weight", 0, devices)
            _narrow(op, "parameters", 1, devices)
        elif isinstance(op, mfm.IntegerGeluOp) and axis == len(shape(op.result)) - 1:
            _narrow(op, "parameters", 1, devices)
        elif isinstance(op, _POINTWISE) and axis is not None:
            _narrow_weights(op, axis - len(shape(op.results[0])), devices)
    for value, axis in splits.axis.items():
        value.set_type(_share(value, axis, devices))
    erase_unused(block)
    returned = block.operations[len(block.operations) - 1]
    signature = ir.FunctionType.get(
        [argument.type for argument in block.arguments],
        [value.type for value in returned.operands],
    )
    function.attributes["function_type"] = ir.TypeAttr.get(signature)
    function.attributes[ALL_GATHER] = ir.DenseI64ArrayAttr.get(gathered)


def _narrow_weights(op: ir.OpView, axis: int, devices: int) -> None:
    """A device's part of the weights that a pointwise operation reads element by element."""
    for index, each in enumerate(op.operands):
        if is_weight(each) and -axis <= len(shape(each)) and shape(each)[axis] > 1:
            op.operation.operands[index] = _part(each, len(shape(each)) + axis, devices)


def _narrow(op: Any, name: str, axis: int, devices: int) -> None:
    value = getattr(op, name)
    index = list(op.operands).index(value)
    op.operation.operands[index] = _part(value, axis, devices)


def _part(weight: ir.Value, axis: int, devices: int) -> ir.Value:
    """One device's part of a weight, under a name of its own."""
    name = f"{weight.owner.opview.parameter.value}.part{axis}"
    with ir.InsertionPoint(weight.owner), weight.owner.location:
        return mfm.ParameterOp(
            parameter=ir.StringAttr.get(name), result=_share(weight, axis, devices)
        ).result


def _share(value: ir.Value, axis: int, devices: int) -> ir.RankedTensorType:
    sizes = list(shape(value))
    sizes[axis] //= devices
    return ir.RankedTensorType.get(sizes, value.type.element_type)


def _bytes(value: ir.Value) -> int:
    return prod(shape(value)) * numpy_dtype(value).itemsize


def _number(value: int) -> ir.IntegerAttr:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)
