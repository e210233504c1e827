"""Which bytes of which tensors a program's transfers touch, in program order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects import npu

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Trace:
    """Runs of bytes, one array per field: of tensor `tensor`, bytes `first` to `last`."""

    tensor: Integers
    first: Integers
    last: Integers

    def pages(self, bases: Integers, shift: int) -> tuple[Integers, Integers]:
        """Tensor and page of each visit, of 2^shift bytes, with the tensors at these addresses.

        What follows each other in one page is one visit.
        """
        low = (bases[self.tensor] + self.first) >> shift
        high = (bases[self.tensor] + self.last) >> shift
        visited, step = _spread(high - low + 1)
        tensor, page = self.tensor[visited], low[visited] + step
        new = np.ones(len(page), np.bool_)
        new[1:] = (page[1:] != page[:-1]) | (tensor[1:] != tensor[:-1])
        return tensor[new], page[new]


def trace(program: npu.ProgramOp, numbers: dict[ir.Value, int]) -> Trace:
    """The transfers of a program between the tensors that `numbers` numbers and the chip.

    Indexed ones are taken at index 0, as the simulator does.
    """
    found = list(_walk(_tree(program.body.blocks[0], numbers), []))
    table = np.array(found, np.int64).reshape(len(found), 5)
    number, address, rows, row_bytes, pitch = table.T
    # Rows without a gap are one.
    whole = (rows == 1) | (pitch == row_bytes)
    row_bytes = np.where(whole, rows * row_bytes, row_bytes)
    transfer, row = _spread(np.where(whole, 1, rows))
    first = address[transfer] + row * pitch[transfer]
    return Trace(number[transfer], first, first + row_bytes[transfer] - 1)


def _spread(counts: Integers) -> tuple[Integers, Integers]:
    """For counts 2, 1, 3: numbers 0 0 1 2 2 2, and within each 0 1 0 0 1 2."""
    number = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return number, np.arange(len(number)) - before[number]


@dataclass(frozen=True)
class _Transfer:
    tensor: int
    offset: int
    stride: tuple[int, ...]
    rows: int
    row_bytes: int
    pitch: int


@dataclass(frozen=True)
class _Loop:
    count: int
    body: list[_Transfer | _Loop]


def _tree(block: ir.Block, numbers: dict[ir.Value, int]) -> list[_Transfer | _Loop]:
    nodes: list[_Transfer | _Loop] = []
    for op in block.operations:
        if isinstance(op, npu.LoopOp):
            nodes.append(_Loop(op.count.value, _tree(op.body.blocks[0], numbers)))
        elif isinstance(op, npu.DmaInOp | npu.DmaOutOp):
            side = 0 if isinstance(op, npu.DmaInOp) else 1
            access = op.view(side)
            rows, row_bytes = op.extent(side)
            tensor = numbers[list(op.operands)[side]]
            nodes.append(
                _Transfer(tensor, access.offset, access.stride, rows, row_bytes, access.pitch)
            )
    return nodes


def _walk(
    nodes: list[_Transfer | _Loop], iterations: list[int]
) -> Iterator[tuple[int, int, int, int, int]]:
    """Tensor, first byte, rows, bytes of a row and pitch of each transfer of all iterations."""
    for node in nodes:
        if isinstance(node, _Transfer):
            # Loops that do not move the transfer have no stride.
            moved = zip(node.stride, iterations, strict=False)
            first = node.offset + sum(stride * iteration for stride, iteration in moved)
            yield node.tensor, first, node.rows, node.row_bytes, node.pitch
            continue
        iterations.append(0)
        for iteration in range(node.count):
            iterations[-1] = iteration
            yield from _walk(node.body, iterations)
        iterations.pop()
