"""Orders the engines: sets how far behind the others each instruction may run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.npu.base import slot_bytes, slots, space
from girih.passes.allocate import dram_bytes
from girih.passes.base import Compilation
from girih.runtime.errors import CompilationError

ENGINES = ("dma_in", "dma_out", "matrix", "vector")
LINE = 64
_LARGEST_DISTANCE = 0xFFFE


@dataclass(frozen=True)
class Synchronize:
    """Set `waits` from the addresses that instructions really touch.

    Every loop is stepped through; each instruction notes, per other engine, the last instruction
    there that wrote what it reads, or touched what it writes. The distance back to it, counted in
    instructions of that engine, is the wait; of all iterations of a loop the shortest distance
    counts. So a wait orders too much at worst, never too little. (docs/isa.md, Order.)
    """

    name: ClassVar[str] = "synchronize"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Set the waits of every program; addresses must be known."""
        for program in module.body.operations:
            if isinstance(program, npu.ProgramOp):
                _Order(program).run()


@dataclass
class _Touch:
    """One operand of an instruction, its address a function of the loops' iterations."""

    memory: int
    base: int
    stride: tuple[int, ...]
    ring: tuple[int, ...]
    phase: int
    slots: int
    slot_bytes: int
    extent: int
    reads: bool
    writes: bool

    def lines(self, iterations: list[int]) -> tuple[int, int]:
        """First line, and the line after the last, in the given iterations."""
        address, slot = self.base, self.phase
        for level, iteration in enumerate(iterations):
            if level < len(self.stride):
                address += self.stride[level] * iteration
            if level < len(self.ring):
                slot += self.ring[level] * iteration
        address += slot % self.slots * self.slot_bytes
        return address // LINE, -(-(address + self.extent) // LINE)


@dataclass
class _Step:
    engine: int
    touches: list[_Touch]
    op: npu.Instruction
    distances: list[int] = field(default_factory=lambda: [-1] * len(ENGINES))


@dataclass
class _Loop:
    count: int
    body: list[_Step | _Loop]


class _Order:
    def __init__(self, program: npu.ProgramOp) -> None:
        self.program = program
        self.issued = [0] * len(ENGINES)
        self.steps: list[_Step] = []
        sizes = [0, 0, 0]
        tree = self._tree(program.body.blocks[0], sizes)
        self.tree = tree
        lines = [size // LINE + 2 for size in sizes]
        # Per memory, engine and line: the number of the last instruction that wrote or read it.
        self.wrote: list[NDArray[np.int32]] = [np.zeros((4, n), np.int32) for n in lines]
        self.read: list[NDArray[np.int32]] = [np.zeros((4, n), np.int32) for n in lines]

    def run(self) -> None:
        self._walk(self.tree, [])
        for step in self.steps:
            step.op.operation.attributes["waits"] = ir.DenseI64ArrayAttr.get(step.distances)

    def _tree(self, block: ir.Block, sizes: list[int]) -> list[_Step | _Loop]:
        nodes: list[_Step | _Loop] = []
        for op in block.operations:
            if isinstance(op, npu.LoopOp):
                nodes.append(_Loop(op.count.value, self._tree(op.body.blocks[0], sizes)))
            elif isinstance(op, npu.Instruction):
                step = _Step(ENGINES.index(op.ENGINE), _touches(op), op)
                for index, operand in enumerate(op.operands):
                    memory, top = _top(operand)
                    sizes[memory] = max(sizes[memory], top)
                    del index
                self.steps.append(step)
                nodes.append(step)
        return nodes

    def _walk(self, nodes: list[_Step | _Loop], iterations: list[int]) -> None:
        for node in nodes:
            if isinstance(node, _Step):
                self._execute(node, iterations)
                continue
            iterations.append(0)
            for iteration in range(node.count):
                iterations[-1] = iteration
                self._walk(node.body, iterations)
            iterations.pop()

    def _execute(self, step: _Step, iterations: list[int]) -> None:
        needed = np.zeros(4, np.int32)
        spans = [touch.lines(iterations) for touch in step.touches]
        for touch, (low, high) in zip(step.touches, spans, strict=True):
            np.maximum(needed, self.wrote[touch.memory][:, low:high].max(axis=1), out=needed)
            if touch.writes:
                np.maximum(needed, self.read[touch.memory][:, low:high].max(axis=1), out=needed)
        engine = step.engine
        self.issued[engine] += 1
        for other in range(4):
            if other != engine and needed[other]:
                distance = min(self.issued[other] - int(needed[other]), _LARGEST_DISTANCE)
                known = step.distances[other]
                step.distances[other] = distance if known < 0 else min(known, distance)
        number = self.issued[engine]
        for touch, (low, high) in zip(step.touches, spans, strict=True):
            if touch.writes:
                self.wrote[touch.memory][engine, low:high] = number
            if touch.reads:
                self.read[touch.memory][engine, low:high] = number


def _declaration(buffer: ir.Value) -> npu.DramOp | npu.AllocateOp:
    declaration = buffer.owner.opview
    if declaration.address.value < 0:
        raise CompilationError("synchronize needs addresses: run allocate before it")
    return declaration


def _top(buffer: ir.Value) -> tuple[int, int]:
    """Memory of a buffer and the address after its end."""
    declaration = _declaration(buffer)
    memory = ("dram", "scratchpad", "accumulator").index(space(buffer))
    if isinstance(declaration, npu.DramOp):
        return memory, declaration.address.value + dram_bytes(declaration)
    return memory, declaration.address.value + slots(buffer) * slot_bytes(buffer)


def _touches(op: npu.Instruction) -> list[_Touch]:
    touches: list[_Touch] = []
    operands = list(op.operands)
    indexed = isinstance(op, npu.DmaInOp | npu.DmaOutOp) and len(operands) == 3
    for index, operand in enumerate(operands):
        declaration = _declaration(operand)
        if isinstance(declaration, npu.DramOp) and declaration.role.value == "parameter":
            # Nothing writes a parameter, so nothing waits for it.
            continue
        access = op.view(index)
        rows, row_bytes = op.extent(index)
        extent = (rows - 1) * access.pitch + row_bytes
        moved = 0 if isinstance(op, npu.DmaInOp) else 1
        if indexed and index == moved:
            # Anywhere that the index may lead.
            extent += op.immediates[0] * (op.immediates[1] - 1)
        on_chip = isinstance(declaration, npu.AllocateOp)
        touches.append(
            _Touch(
                memory=_top(operand)[0],
                base=declaration.address.value + access.offset,
                stride=access.stride,
                ring=access.ring,
                phase=access.phase,
                slots=slots(operand) if on_chip else 1,
                slot_bytes=slot_bytes(operand) if on_chip else 0,
                extent=extent,
                reads=op.reads(index),
                writes=index in op.WRITES,
            )
        )
    return touches
