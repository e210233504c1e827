"""Separates the first iteration of every outermost loop, so that its waits are its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.npu.base import Access
from girih.passes.base import Compilation

Change = Callable[[Access], Access]


@dataclass(frozen=True)
class Peel:
    """Let the first iteration of an outermost loop stand before the loop.

    ```
    loop n { body }  -->  body  loop n - 1 { body }
    ```
    The wait of an instruction is one number for all iterations: the shortest distance of any.
    Only the first iteration meets memory that the layer before has used; without this pass, its
    short distances would hold up all the others. So does the first iteration of a loop in it.
    Runs between `tile` and `allocate`.
    """

    name: ClassVar[str] = "peel"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every program."""
        for program in module.body.operations:
            if isinstance(program, npu.ProgramOp):
                for op in list(program.body.blocks[0].operations):
                    if isinstance(op, npu.LoopOp) and op.count.value > 1:
                        _peel(op)


def _peel(loop: npu.LoopOp) -> None:
    body = list(loop.body.blocks[0].operations)
    count = loop.count.value - 1
    with ir.InsertionPoint(loop), loop.location:
        first = [op.operation.clone().opview for op in body]
        for op in first:
            _rewrite(op, in_first_iteration)
        if count == 1:
            for op in body:
                _rewrite(op.operation.clone().opview, in_second_iteration)
    for op in first:
        # It stands outermost now, and its own first iteration is the first of all.
        if isinstance(op, npu.LoopOp) and op.count.value > 1:
            _peel(op)
    if count == 1:
        loop.operation.erase()
        return
    loop.operation.attributes["count"] = ir.IntegerAttr.get(loop.count.type, count)
    for op in body:
        _rewrite(op, one_iteration_later)


def _rewrite(op: ir.OpView, change: Change) -> None:
    if isinstance(op, npu.LoopOp):
        for inner in op.body.blocks[0].operations:
            _rewrite(inner, change)
    elif isinstance(op, npu.Instruction):
        op.operation.attributes["accesses"] = ir.ArrayAttr.get(
            [change(Access.parse(access)).attribute() for access in op.accesses]
        )


def in_first_iteration(access: Access) -> Access:
    """Outside the loop: inner levels move one level out."""
    return replace(access, stride=access.stride[1:], ring=access.ring[1:])


def one_iteration_later(access: Access) -> Access:
    """Inside the loop, which now starts with what was its second iteration."""
    offset = access.offset + (access.stride[0] if access.stride else 0)
    phase = access.phase + (access.ring[0] if access.ring else 0)
    return replace(access, offset=offset, phase=phase)


def in_second_iteration(access: Access) -> Access:
    """After the first iteration and outside the loop, where the second one is the last."""
    return in_first_iteration(one_iteration_later(access))
