"""A function as the stages of a pipeline: consecutive operations of about equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.costs import cost, is_work
from girih.compiler.pipeline import copy_module
from girih.dialects.mfm import ParameterOp
from girih.dialects.mfm.base import numpy_dtype, shape
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.interpreter import function_named
from girih.runtime.errors import CompilationError
from girih.runtime.target import Target


@dataclass(frozen=True)
class Stage:
    """A module with one stage of one entry, and the bytes that it sends to the next."""

    module: ir.Module
    sent: int


def stages(graph: ir.Module, name: str, target: Target, count: int) -> list[Stage]:
    """The stages of an entry, on `count` devices.

    Cuts are where the fewest bytes cross: in a decoder, before and after attention. Among them,
    those that make the longest stage shortest, by each operation's roofline. Raises
    `CompilationError` where there are fewer such places than devices ask for.
    """
    function = function_named(graph, name)
    ops = list(function.entry_block.operations)[:-1]
    crossing = _crossing(ops)
    times = [_cycles(op, target) for op in ops]
    cuts = _cuts(times, crossing, count)
    bounds = [0, *cuts, len(ops)]
    return [
        Stage(_only_stage(graph, name, begin, end), crossing[end] if end < len(ops) else 0)
        for begin, end in zip(bounds, bounds[1:], strict=False)
    ]


def _cycles(op: ir.OpView, target: Target) -> float:
    if not is_work(op):
        return 0.0
    own = cost(op)
    return max(own.macs / target.macs_per_cycle, own.bytes / target.dram_bytes_per_cycle)


def _is_constant(op: ir.OpView) -> bool:
    return isinstance(op, ParameterOp) or op.operation.name.startswith("torch.constant.")


def _crossing(ops: Sequence[ir.OpView]) -> list[int]:
    """Bytes of the values that operations before each place make and those after it read."""
    places = {op.operation: index for index, op in enumerate(ops)}
    changes = [0] * (len(ops) + 1)
    for index, op in enumerate(ops):
        if _is_constant(op):
            continue
        for value in op.results:
            users = [places.get(use.owner.operation, -1) for use in value.uses]
            last = max(users, default=-1)
            if last > index:
                changes[index + 1] += _bytes(value)
                changes[last + 1] -= _bytes(value)
    return list(accumulate(changes))


def _bytes(value: ir.Value) -> int:
    if not isinstance(value.type, ir.RankedTensorType):
        return 0
    return prod(shape(value)) * numpy_dtype(value).itemsize


def _cuts(times: Sequence[float], crossing: Sequence[int], count: int) -> list[int]:
    """Places to cut at, so that the longest of `count` stages is as short as can be."""
    before = [0.0, *accumulate(times)]
    whole = before[-1]
    inner = [
        place
        for place in range(1, len(times))
        if whole / (2 * count) <= before[place] <= whole * (1 - 1 / (2 * count))
    ]
    least = min((crossing[place] for place in inner), default=0)
    # Of places with no work between them, one is enough.
    places = list({before[each]: each for each in inner if crossing[each] == least}.values())
    if len(places) < count - 1:
        raise CompilationError(
            f"a pipeline of {count} devices needs {count - 1} places to cut the model at, found "
            f"{len(places)}: choose fewer devices"
        )
    ends = [*places, len(times)]
    best = {end: (before[end], list[int]()) for end in ends}
    for _ in range(count - 1):
        following: dict[int, tuple[float, list[int]]] = {}
        for position, end in enumerate(ends):
            options = [
                (max(best[cut][0], before[end] - before[cut]), [*best[cut][1], cut])
                for cut in ends[:position]
                if cut in best
            ]
            if options:
                following[end] = min(options, key=lambda option: option[0])
        best = following
    return best[len(times)][1]


def _only_stage(graph: ir.Module, name: str, begin: int, end: int) -> ir.Module:
    """A copy of the module that has of one entry the operations of one stage, and no other."""
    module = copy_module(graph)
    for op in list(module.body.operations):
        if isinstance(op, func.FuncOp) and op.name.value != name:
            op.operation.erase()
    function = function_named(module, name)
    block = function.entry_block
    ops = list(block.operations)
    returned = ops.pop()
    kept = ops[begin:end]
    members = {op.operation for op in kept}
    arguments = _entries(function, "arg_attrs", len(block.arguments))
    results = _entries(function, "res_attrs", len(returned.operands))
    # An operation's hash changes with its operands: all questions come before any change.
    foreign = [
        (op, index, value)
        for op in kept
        for index, value in enumerate(op.operands)
        if not isinstance(value.owner, ir.Block)
        and value.owner not in members
        and not _is_constant(value.owner.opview)
    ]
    outputs = [
        (value, results[index])
        for index, value in enumerate(returned.operands)
        if not isinstance(value.owner, ir.Block) and value.owner in members
    ]
    later = {op.operation for op in ops[end:]}
    for op in kept:
        for value in () if _is_constant(op) else op.results:
            if any(use.owner.operation in later for use in value.uses):
                outputs.append((value, ir.DictAttr.get({})))
    received: dict[ir.Value, ir.Value] = {}
    for op, index, value in foreign:
        if value not in received:
            received[value] = block.add_argument(value.type, op.location)
            arguments.append(ir.DictAttr.get({}))
        op.operation.operands[index] = received[value]
    with ir.InsertionPoint(returned), returned.location:
        func.ReturnOp([value for value, _ in outputs])
    returned.operation.erase()
    for op in reversed([*ops[:begin], *ops[end:]]):
        if not (_is_constant(op) and _is_used(op)):
            op.operation.erase()
    erase_unused(block)
    for index in reversed(range(len(block.arguments))):
        if not list(block.arguments[index].uses):
            block.erase_argument(index)
            del arguments[index]
    attributes = function.attributes
    attributes["arg_attrs"] = ir.ArrayAttr.get(arguments)
    attributes["res_attrs"] = ir.ArrayAttr.get([each for _, each in outputs])
    signature = ir.FunctionType.get(
        [argument.type for argument in block.arguments], [value.type for value, _ in outputs]
    )
    attributes["function_type"] = ir.TypeAttr.get(signature)
    return module


def _entries(function: func.FuncOp, side: str, count: int) -> list[ir.Attribute]:
    if side in function.attributes:
        return list(function.attributes[side])
    return [ir.DictAttr.get({})] * count


def _is_used(op: ir.OpView) -> bool:
    return any(list(value.uses) for value in op.results)
