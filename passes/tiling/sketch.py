"""A region's machine code without IR: what it would cost, in milliseconds, before it is chosen.

The tilers emit into an `Emitter`; this one keeps plain records. They pass through the same steps as
the real code (peel, allocate, synchronize) and the simulator's clock, so what a choice of tiles is
said to cost is what the machine will take for it.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from torch_mlir import ir

from girih.dialects.mfm.base import element, shape
from girih.dialects.npu.base import DTYPES, LOOP_DEPTH, Access
from girih.dialects.npu.machine_code import DTYPES as CODES
from girih.dialects.npu.machine_code import OPCODES, SPACES, Place, operand
from girih.passes.allocate import ALIGNMENT, WHOLE, Life, pack
from girih.passes.peel import in_first_iteration, in_second_iteration, one_iteration_later
from girih.passes.tiling.emitter import Affine, Buffer, Emitter, View
from girih.passes.tiling.layer import STORED, LayerTiler
from girih.passes.tiling.mapping import Mapping
from girih.passes.tiling.search import Measured
from girih.runtime.program import Instruction, Opcode, Operand, Program
from girih.runtime.simulator import LoadedProgram, Machine
from girih.runtime.target import Target


@dataclass(eq=False)
class _Memory:
    """A buffer: where it lies is decided when all are known."""

    space: str
    element: str
    slots: int
    slot_bytes: int
    layer: int
    life: Life
    address: int = 0

    @property
    def place(self) -> Place:
        on_chip = self.space != "dram"
        return Place(
            SPACES[self.space],
            CODES[self.element],
            self.address,
            self.slots,
            self.slot_bytes if on_chip else 0,
        )


@dataclass(frozen=True)
class _Step:
    opcode: Opcode
    sizes: tuple[int, int, int]
    flags: int
    immediates: tuple[int, ...]
    operands: tuple[tuple[_Memory, Access], ...]
    layer: int


@dataclass
class _Loop:
    count: int
    body: list[_Node] = field(default_factory=list["_Node"])


_Node = _Step | _Loop


class SketchEmitter(Emitter):
    """Records what the tilers emit."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = 0
        self.memories: list[_Memory] = []
        self.code: list[_Node] = []

    def allocate(self, space: str, element: str, rows: int, columns: int, slots: int = 1) -> Buffer:
        pitch = columns * DTYPES[element].itemsize
        size = -(-rows * pitch // ALIGNMENT) * ALIGNMENT
        memory = _Memory(space, element, slots, size, self.layer, self.life or WHOLE)
        self.memories.append(memory)
        return Buffer(memory, pitch, slots)

    @contextmanager
    def loop(self, count: int) -> Generator[Affine, None, None]:
        coefficients = [0] * LOOP_DEPTH
        coefficients[self.depth] = 1
        outside, loop = self.code, _Loop(count)
        outside.append(loop)
        self.depth, self.code = self.depth + 1, loop.body
        yield Affine(0, tuple(coefficients))
        self.depth, self.code = self.depth - 1, outside

    def emit(
        self,
        kind: type[Any],
        views: Sequence[View | None],
        rows: int,
        columns: int,
        depth: int = 0,
        flags: int = 0,
        immediates: Sequence[int] = (),
    ) -> None:
        operands = tuple((view.value, view.access) for view in views if view is not None)
        self.code.append(
            _Step(
                OPCODES[kind],
                (rows, columns, depth),
                flags,
                tuple(immediates),
                operands,
                self.layer,
            )
        )


class _SketchTiler(LayerTiler):
    """Tensors of a region that is tried: each has a place in DRAM of its own."""

    def __init__(self, target: Target) -> None:
        self.sketch = SketchEmitter()
        super().__init__(self.sketch, target, None, Mapping(target))

    def declare_apart(self, value: ir.Value, name: str, role: str, index: int) -> Buffer:
        sizes = list(shape(value)) or [1]
        stored = STORED.get(element(value), element(value))
        columns = sizes[-1]
        rows = 1
        for size in sizes[:-1]:
            rows *= size
        life, self.sketch.life = self.sketch.life, None
        buffer = self.sketch.allocate("dram", stored, rows, columns)
        self.sketch.life = life
        return buffer


def measure(
    emit: Callable[[LayerTiler], None], target: Target, buffers: int = 2
) -> Measured | None:
    """The cost of what `emit` emits; None where it does not fit the target's memories."""
    tiler = _SketchTiler(target)
    tiler.buffers = buffers
    emit(tiler)
    sketch = tiler.sketch
    if not _place(sketch.memories, target):
        return None
    code = _encode(_peeled(sketch.code))
    top = max(
        (each.address + each.slot_bytes for each in sketch.memories if each.space == "dram"),
        default=0,
    )
    loaded = LoadedProgram(Program.for_target(target, code, dram_bytes=top).encode())
    loaded.synchronize()
    counted = _machine(target).run(loaded, functional=False)
    moved = counted.counts.dram_read_bytes + counted.counts.dram_write_bytes
    return Measured(counted.cycles, moved)


@lru_cache(maxsize=16)
def _machine(target: Target) -> Machine:
    # Whether the whole model fits the DRAM is not a question of one region.
    dram = target.dram.model_copy(update={"capacity_bytes": 1 << 44})
    return Machine(target.model_copy(update={"dram": dram}), threads=1)


# The native module counts what outlives it as leaked.
atexit.register(_machine.cache_clear)


def _place(memories: list[_Memory], target: Target) -> bool:
    """Give every buffer its address, as the pass `allocate` does."""
    capacity = {"scratchpad": target.scratchpad_bytes, "accumulator": target.accumulator_bytes}
    groups: dict[tuple[int, str], list[_Memory]] = {}
    top = 0
    for memory in memories:
        if memory.space == "dram":
            memory.address, top = top, top + memory.slot_bytes
        else:
            groups.setdefault((memory.layer, memory.space), []).append(memory)
    for (layer, space), group in groups.items():
        places, size = pack([(each.slots * each.slot_bytes, each.life) for each in group])
        if size > capacity[space]:
            return False
        base = 0 if layer % 2 == 0 else capacity[space] // ALIGNMENT * ALIGNMENT - size
        for memory, place in zip(group, places, strict=True):
            memory.address = base + place
    return True


def _peeled(nodes: list[_Node]) -> list[_Node]:
    """What the pass `peel` makes of a program."""
    code: list[_Node] = []
    for node in nodes:
        code += _peel(node) if isinstance(node, _Loop) and node.count > 1 else [node]
    return code


def _peel(loop: _Loop) -> list[_Node]:
    first = _peeled([_rewrite(node, in_first_iteration) for node in loop.body])
    if loop.count == 2:
        return first + [_rewrite(node, in_second_iteration) for node in loop.body]
    rest = [_rewrite(node, one_iteration_later) for node in loop.body]
    return [*first, _Loop(loop.count - 1, rest)]


def _rewrite(node: _Node, change: Callable[[Access], Access]) -> _Node:
    if isinstance(node, _Loop):
        return _Loop(node.count, [_rewrite(each, change) for each in node.body])
    return replace(node, operands=tuple((m, change(access)) for m, access in node.operands))


def _encode(nodes: list[_Node]) -> list[Instruction]:
    code: list[Instruction] = []
    for node in nodes:
        if isinstance(node, _Loop):
            code += [Instruction(Opcode.LOOP, rows=node.count), *_encode(node.body)]
            code.append(Instruction(Opcode.END))
        else:
            code.append(_instruction(node))
    return code


def _instruction(step: _Step) -> Instruction:
    moves = step.opcode in (Opcode.DMA_IN, Opcode.DMA_OUT)
    operands: list[Operand | None] = [
        operand(memory.place, access, as_bytes=moves and index < 2)
        for index, (memory, access) in enumerate(step.operands)
    ]
    operands += [None] * (4 - len(operands))
    rows, columns, depth = step.sizes
    return Instruction(
        step.opcode,
        rows=rows,
        columns=columns,
        depth=depth,
        flags=step.flags,
        a=operands[0],
        b=operands[1],
        c=operands[2],
        d=operands[3],
        immediates=step.immediates,
        tag=step.layer,
    )
