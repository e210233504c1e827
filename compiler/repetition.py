"""Layers that repeat: eight are compiled, and the machine code of two of them stands for the rest.

A function that holds the same operations again and again, as a decoder of 32 equal blocks does, is
shortened to 8 or 9 repetitions before its machine code is made. In that code, repetitions 4 and 5
must be the same as 6 and 7, instruction for instruction with their waits, but for where in DRAM
their tensors lie; then 6 and 7 are what every later pair would be too, since the code of a
repetition depends on what is before it alone. They are put in as often as repetitions were taken
out. Pairs, because layers take turns at the two ends of the on-chip memories. Time does not depend
on DRAM addresses, so the program is good for timing, and only for that.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import ParameterOp
from girih.dialects.mfm.base import numpy_dtype, shape
from girih.passes.states import state_of
from girih.runtime.executable import Kernel, Layer
from girih.runtime.program import (
    HEADER_BYTES,
    INSTRUCTION_DTYPE,
    NO_WAIT,
    Opcode,
    Space,
    with_records,
)

_KEPT = 8
"""Repetitions that are compiled; one more where an odd number is to be left."""
_BEFORE = 7
"""Those of them that stand before what is taken out."""


@dataclass(frozen=True)
class Run:
    """`count` repetitions of `period` items each, from item `start` of a sequence."""

    start: int
    period: int
    count: int


@dataclass(frozen=True)
class Shortened:
    """What was taken out of a function.

    names: of the operations of each repetition that there was. tensors: bytes of the weights that
    the removed ones read, and of what they returned, by name.
    """

    removed: int
    names: tuple[tuple[str, ...], ...]
    tensors: Mapping[str, int]


def longest_run(items: Sequence[Hashable]) -> Run | None:
    """The repetition that covers the most items; None where nothing follows itself."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(item, len(numbers)) for item in items], np.int64)
    best: Run | None = None
    covered = 0
    for period in range(1, len(codes) // 2 + 1):
        equal = codes[period:] == codes[:-period]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], equal.view(np.int8), [0]])))
        if not len(edges):
            continue
        starts, ends = edges[::2], edges[1::2]
        longest = int(np.argmax(ends - starts))
        length = int(ends[longest] - starts[longest])
        if length >= period and length + period > covered:
            covered = length + period
            best = Run(int(starts[longest]), period, covered // period)
    return best


def shorten(function: func.FuncOp) -> Shortened | None:
    """Take repetitions out of a function, in place; None where there are too few of them."""
    block = function.entry_block
    ops = [op for op in block.operations if not isinstance(op, func.ReturnOp)]
    run = longest_run([_signature(op) for op in ops])
    if run is None or (run := _connected(run, ops)).count < _KEPT + 2:
        return None
    removed = (run.count - _KEPT) // 2 * 2
    begin = run.start + run.period * _BEFORE
    end = begin + run.period * removed
    names = tuple(
        tuple(_name(ops[index]) for index in range(first, first + run.period))
        for first in range(run.start, run.start + run.period * run.count, run.period)
    )
    gone = ops[begin:end]
    members = {op.operation for op in gone}
    for index, op in enumerate(gone, begin):
        # Of the last repetition before the gap: what follows may read of every one, as a prefill
        # that pads all layers' keys at its end.
        stand_in = ops[begin - run.period + (index - begin) % run.period]
        for old, new in zip(op.results, stand_in.results, strict=True):
            for use in list(old.uses):
                user = use.owner.operation
                if user not in members and user.name != "func.return":
                    user.operands[use.operand_number] = new
    tensors = _drop_results(function, members)
    for op in reversed(gone):
        if isinstance(op, ParameterOp):
            tensors[op.parameter.value] = _bytes(op.result)
        op.operation.erase()
    return Shortened(removed, names, tensors)


def _connected(run: Run, ops: Sequence[ir.OpView]) -> Run:
    """The last repetitions of a run of which each reads of the one before what that reads of its.

    The first may read what leads up to them in the place of a repetition.
    """
    places = {op.operation: index for index, op in enumerate(ops)}
    end = run.start + run.period * run.count
    first = run.start
    for index in range(run.start + run.period, end):
        if not _moves_along(ops[index], ops[index - run.period], places, run.period):
            first = run.start + (index - run.start) // run.period * run.period
    return Run(first, run.period, (end - first) // run.period)


def _signature(op: ir.OpView) -> Hashable:
    """What two operations that cost the same have in common."""
    attributes = op.operation.attributes
    return (
        op.operation.name,
        tuple(str(value.type) for value in op.operands),
        tuple(str(value.type) for value in op.results),
        tuple(f"{name}={attributes[name]}" for name in attributes if name != "parameter"),
    )


def _moves_along(
    op: ir.OpView, before: ir.OpView, places: dict[ir.Operation, int], period: int
) -> bool:
    """Whether an operation reads what its predecessor did, or the next repetition's of it."""
    for operand, earlier in zip(op.operands, before.operands, strict=True):
        if operand == earlier:
            continue
        owner, other = operand.owner, earlier.owner
        if isinstance(owner, ir.Block) and isinstance(other, ir.Block):
            continue
        if isinstance(owner, ir.Block) or isinstance(other, ir.Block):
            return False
        if isinstance(owner.opview, ParameterOp) and isinstance(other.opview, ParameterOp):
            continue
        if places[owner] - places[other] != period:
            return False
    return True


def _drop_results(function: func.FuncOp, members: set[ir.Operation]) -> dict[str, int]:
    """Return no more what the members make; the bytes of that, by name."""
    block = function.entry_block
    returned = block.operations[len(block.operations) - 1]
    kept = [
        index
        for index, value in enumerate(returned.operands)
        if isinstance(value.owner, ir.Block) or value.owner not in members
    ]
    values = [returned.operands[index] for index in kept]
    dropped = {
        state_of(function, "res_attrs", index) or f"{function.name.value}.{index}": _bytes(value)
        for index, value in enumerate(returned.operands)
        if index not in kept
    }
    with ir.InsertionPoint(returned), returned.location:
        func.ReturnOp(values)
    returned.operation.erase()
    attributes = function.attributes
    if "res_attrs" in attributes:
        entries = list(attributes["res_attrs"])
        attributes["res_attrs"] = ir.ArrayAttr.get([entries[index] for index in kept])
    signature = ir.FunctionType.get(
        [argument.type for argument in block.arguments], [value.type for value in values]
    )
    attributes["function_type"] = ir.TypeAttr.get(signature)
    return dropped


def _name(op: ir.OpView) -> str:
    location = op.location
    return location.name_str if isinstance(location, ir.NameLoc) else op.operation.name


def _bytes(value: ir.Value) -> int:
    return int(np.prod(shape(value), dtype=np.int64)) * numpy_dtype(value).itemsize


def lengthen(kernel: Kernel, shortened: Shortened) -> Kernel | None:
    """The kernel with what was taken out put in again; None where its repetitions differ."""
    run = longest_run(
        [(each.operation, each.macs, each.compulsory_bytes) for each in kernel.layers]
    )
    if run is None or run.count < 7:
        return None
    records = np.frombuffer(kernel.program, INSTRUCTION_DTYPE, offset=HEADER_BYTES)
    tags = _layers_of(records)
    first, second, end = (run.start + number * run.period for number in (3, 5, 7))
    one, two = (
        records[(tags >= begin) & (tags < begin + 2 * run.period)] for begin in (first, second)
    )
    if len(one) != len(two) or _comparable(one, first) != _comparable(two, second):
        return None
    copies = shortened.removed // 2
    moved = [_with_tags(two, 2 * run.period * copy) for copy in range(1, copies + 1)]
    after = _with_tags(records[tags >= end], 2 * run.period * copies)
    code = np.concatenate([records[tags < end], *moved, after])
    pair = kernel.layers[second:end]
    layers = [
        *kernel.layers[:end],
        *(_renamed(each, shortened, 2 * copy) for copy in range(1, copies + 1) for each in pair),
        *(_renamed(each, shortened, shortened.removed) for each in kernel.layers[end:]),
    ]
    return replace(kernel, program=with_records(kernel.program, code), layers=tuple(layers))


def _layers_of(records: NDArray[np.void]) -> NDArray[np.int64]:
    """The layer of each instruction; loops and their ends belong to what they hold."""
    tags = records["tag"].astype(np.int64)
    opcodes = records["opcode"]
    begins, ends = opcodes == Opcode.LOOP, opcodes == Opcode.END
    tags[begins | ends] = -1
    # An end takes the tag before it, a loop the tag after it.
    known = np.maximum.accumulate(np.where(tags >= 0, np.arange(len(tags)), 0))
    tags = np.where(ends, tags[known], tags)
    following = np.where(tags >= 0, np.arange(len(tags)), len(tags) - 1)[::-1]
    return tags[np.minimum.accumulate(following)[::-1]]


def _comparable(records: NDArray[np.void], first: int) -> bytes:
    """Instructions of a pair without what may differ between pairs.

    That is tags, places in DRAM, and how far a wait reaches that reaches beyond the pair before:
    each repetition reads what the one before computed, so all that is older is complete.
    """
    copy = records.copy()
    copy["tag"] -= np.where(_is_loop(copy), 0, first).astype(np.uint32)
    issued = np.array(_issued(records), np.uint16)
    copy["wait"] = np.where(copy["wait"] > issued, NO_WAIT, copy["wait"])
    operands = copy["operands"]
    operands["base"][operands["space"] == Space.DRAM] = 0
    return copy.tobytes()


def _issued(records: NDArray[np.void]) -> list[int]:
    """How many instructions of each engine are issued, those in loops as often as they run."""
    counts, times = [0] * 4, [1]
    for opcode, engine, rows in zip(
        records["opcode"].tolist(),
        records["engine"].tolist(),
        records["rows"].tolist(),
        strict=True,
    ):
        if opcode == Opcode.LOOP:
            times.append(times[-1] * rows)
        elif opcode == Opcode.END:
            times.pop()
        else:
            counts[engine] += times[-1]
    return [min(count, NO_WAIT - 1) for count in counts]


def _with_tags(records: NDArray[np.void], offset: int) -> NDArray[np.void]:
    copy = records.copy()
    copy["tag"] += np.where(_is_loop(copy), 0, offset).astype(np.uint32)
    return copy


def _is_loop(records: NDArray[np.void]) -> NDArray[np.bool_]:
    return (records["opcode"] == Opcode.LOOP) | (records["opcode"] == Opcode.END)


def _renamed(layer: Layer, shortened: Shortened, later: int) -> Layer:
    """The layer under the name of what stands in its place some repetitions later.

    What stood behind the gap has its own name already.
    """
    names = shortened.names
    for number in range(_BEFORE):
        if layer.name in names[number]:
            place = names[number].index(layer.name)
            return replace(layer, name=names[number + later][place])
    return layer
