"""Gives every buffer of the machine level its address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.npu.base import dtype, slot_bytes, slots, space
from girih.passes.base import Compilation
from girih.runtime.errors import CompilationError

ALIGNMENT = 64

Life = tuple[int, int]
"""First and last phase of a layer in which a buffer holds something."""
WHOLE: Life = (0, 1 << 30)


@dataclass(frozen=True)
class Allocate:
    """Place on-chip buffers layer by layer, and tensors in DRAM.

    A layer's buffers lie beside each other, those of different phases in each other's place; layers
    take turns at the two ends of each memory, so that the loads of the next layer can begin while
    this one still computes. In DRAM, parameters
    and states come first, at addresses that all programs of the module share; then each program's
    own tensors, intermediates reusing memory that no later layer reads.
    """

    name: ClassVar[str] = "allocate"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Set the address of every `npu.allocate` and `npu.dram`."""
        if compilation.target is None:
            raise CompilationError("allocate needs a target")
        capacity = {
            "scratchpad": compilation.target.scratchpad_bytes,
            "accumulator": compilation.target.accumulator_bytes,
        }
        programs = [op for op in module.body.operations if isinstance(op, npu.ProgramOp)]
        shared: dict[tuple[str, str], int] = {}
        top = 0
        for program in programs:
            for tensor in dram_tensors(program):
                key = tensor.role.value, tensor.tensor.value
                if key[0] in ("parameter", "state") and key not in shared:
                    shared[key] = top
                    top += dram_bytes(tensor)
        for program in programs:
            _place_on_chip(program, capacity)
            _place_in_dram(program, shared, top)


def walk(block: ir.Block) -> Iterator[ir.OpView]:
    """All operations of a block and of the loops in it, in program order."""
    for op in block.operations:
        yield op
        if isinstance(op, npu.LoopOp):
            yield from walk(op.body.blocks[0])


def dram_bytes(tensor: npu.DramOp) -> int:
    """Bytes of a tensor in DRAM, aligned."""
    size = int(np.prod(tensor.buffer.type.shape, dtype=np.int64)) * dtype(tensor.buffer).itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT


def dram_tensors(program: npu.ProgramOp) -> list[npu.DramOp]:
    """Tensors of a program in external memory, in order."""
    return [op for op in program.body.blocks[0].operations if isinstance(op, npu.DramOp)]


def set_address(op: ir.OpView, address: int) -> None:
    """Set the address of an `npu.allocate` or `npu.dram`."""
    i64 = ir.IntegerType.get_signless(64)
    op.operation.attributes["address"] = ir.IntegerAttr.get(i64, address)


def _place_on_chip(program: npu.ProgramOp, capacity: dict[str, int]) -> None:
    layers: dict[tuple[int, str], list[npu.AllocateOp]] = {}
    for op in walk(program.body.blocks[0]):
        if isinstance(op, npu.AllocateOp):
            layers.setdefault((op.layer.value, space(op.buffer)), []).append(op)
    for (layer, where), buffers in layers.items():
        sizes = [slots(op.buffer) * slot_bytes(op.buffer) for op in buffers]
        places, top = pack(list(zip(sizes, map(_life, buffers), strict=True)))
        if top > capacity[where]:
            raise CompilationError(
                f"layer {layer} of {program.sym_name.value} takes {top} {where} bytes, "
                f"the target has {capacity[where]}"
            )
        address = 0 if layer % 2 == 0 else capacity[where] // ALIGNMENT * ALIGNMENT - top
        for op, place in zip(buffers, places, strict=True):
            set_address(op, address + place)


def _life(op: npu.AllocateOp) -> Life:
    attributes = op.operation.attributes
    if "life" not in attributes:
        return WHOLE
    first, last = ir.DenseI64ArrayAttr(attributes["life"])
    return first, last


def pack(buffers: list[tuple[int, Life]]) -> tuple[list[int], int]:
    """Addresses for (bytes, phases of life), and the bytes that they take together.

    The largest first, each at the lowest address where nothing lives at the same time.
    """
    placed: list[tuple[int, int, int, int]] = []
    addresses, top = [0] * len(buffers), 0
    for index in sorted(range(len(buffers)), key=lambda index: -buffers[index][0]):
        size, life = buffers[index]
        address = _first_fit(placed, life, size, 0)
        placed.append((address, size, *life))
        addresses[index], top = address, max(top, address + size)
    return addresses, top


def lifetimes(program: npu.ProgramOp) -> list[Life]:
    """First and last layer in which each tensor of `dram_tensors` must keep its bytes."""
    lives: dict[ir.Value, tuple[int, int]] = {}
    for op in walk(program.body.blocks[0]):
        if isinstance(op, npu.Instruction):
            for operand in op.operands:
                first, _ = lives.get(operand, (op.layer.value, 0))
                lives[operand] = first, op.layer.value
    return [
        lives.get(tensor.buffer, (0, 0)) if tensor.role.value == "intermediate" else WHOLE
        for tensor in dram_tensors(program)
    ]


def _place_in_dram(program: npu.ProgramOp, shared: dict[tuple[str, str], int], base: int) -> None:
    placed: list[tuple[int, int, int, int]] = []
    for tensor, life in zip(dram_tensors(program), lifetimes(program), strict=True):
        key = tensor.role.value, tensor.tensor.value
        if key in shared:
            set_address(tensor, shared[key])
            continue
        size = dram_bytes(tensor)
        address = _first_fit(placed, life, size, base)
        placed.append((address, size, life[0], life[1]))
        set_address(tensor, address)


def _first_fit(placed: list[tuple[int, int, int, int]], life: Life, size: int, base: int) -> int:
    """Lowest address at which nothing lives at the same time."""
    alive = sorted(
        (address, taken)
        for address, taken, first, last in placed
        if first <= life[1] and life[0] <= last
    )
    address = base
    for other, taken in alive:
        if address + size <= other:
            break
        address = max(address, other + taken)
    return address
