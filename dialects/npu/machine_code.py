"""npu operations as machine code: each is one instruction of docs/isa.md."""

from __future__ import annotations

from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects.npu.base import LOOP_DEPTH, Access, Instruction, slot_bytes, slots, space
from girih.dialects.npu.matrix import MatmulOp
from girih.dialects.npu.structure import AllocateOp, LoopOp
from girih.dialects.npu.transfer import DmaInOp, DmaOutOp
from girih.dialects.npu.vector import (
    AddOp,
    ExponentialOp,
    FillOp,
    FoldOp,
    GeluOp,
    LayerNormOp,
    MultiplyOp,
    NormalizeOp,
    RescaleOp,
    ScoresOp,
)
from girih.runtime import program
from girih.runtime.program import NO_WAIT, DType, Opcode, Operand, Space

OPCODES: dict[type[Instruction], Opcode] = {
    DmaInOp: Opcode.DMA_IN,
    DmaOutOp: Opcode.DMA_OUT,
    FillOp: Opcode.FILL,
    MatmulOp: Opcode.MATMUL,
    RescaleOp: Opcode.RESCALE,
    AddOp: Opcode.ADD,
    GeluOp: Opcode.GELU,
    LayerNormOp: Opcode.LAYER_NORM,
    ScoresOp: Opcode.SCORES,
    ExponentialOp: Opcode.EXPONENTIAL,
    NormalizeOp: Opcode.NORMALIZE,
    MultiplyOp: Opcode.MULTIPLY,
    FoldOp: Opcode.FOLD,
}
SPACES = {
    "dram": Space.DRAM,
    "scratchpad": Space.SCRATCHPAD,
    "accumulator": Space.ACCUMULATOR,
}
DTYPES = {"i8": DType.I8, "ui8": DType.U8, "i16": DType.I16, "i32": DType.I32}


def instructions(block: ir.Block) -> list[program.Instruction]:
    """The instructions of a block and of the loops in it, in program order."""
    return _instructions(block, {})


@dataclass(frozen=True)
class Place:
    """What all operands in a buffer have in common."""

    space: Space
    element: DType
    address: int
    slots: int
    slot_bytes: int

    @classmethod
    def of(cls, buffer: ir.Value) -> Place:
        """That of a declared buffer."""
        declaration = buffer.owner.opview
        on_chip = isinstance(declaration, AllocateOp)
        return cls(
            SPACES[space(buffer)],
            DTYPES[str(buffer.type.element_type)],
            declaration.address.value,
            slots(buffer) if on_chip else 1,
            slot_bytes(buffer) if on_chip else 0,
        )


def _instructions(block: ir.Block, places: dict[ir.Value, Place]) -> list[program.Instruction]:
    code: list[program.Instruction] = []
    for op in block.operations:
        if isinstance(op, LoopOp):
            code.append(program.Instruction(Opcode.LOOP, rows=op.count.value))
            code += _instructions(op.body.blocks[0], places)
            code.append(program.Instruction(Opcode.END))
        elif isinstance(op, Instruction):
            code.append(_instruction(op, places))
    return code


def _instruction(op: Instruction, places: dict[ir.Value, Place]) -> program.Instruction:
    moves = isinstance(op, DmaInOp | DmaOutOp)
    operands: list[Operand | None] = []
    for index, (buffer, access) in enumerate(zip(op.operands, op.accesses, strict=True)):
        place = places.get(buffer)
        if place is None:
            place = places[buffer] = Place.of(buffer)
        operands.append(operand(place, Access.parse(access), as_bytes=moves and index < 2))
    operands += [None] * (4 - len(operands))
    return program.Instruction(
        OPCODES[type(op)],
        rows=op.rows.value,
        columns=op.columns.value,
        depth=op.depth.value,
        flags=op.flags.value,
        a=operands[0],
        b=operands[1],
        c=operands[2],
        d=operands[3],
        immediates=tuple(op.immediates),
        wait=_four(tuple(NO_WAIT if wait < 0 else wait for wait in op.waits)),
        tag=op.layer.value,
    )


def operand(place: Place, access: Access, as_bytes: bool) -> Operand:
    """Part of a buffer; transfers count in bytes, whatever the elements are."""
    return Operand(
        space=place.space,
        base=place.address + access.offset,
        dtype=DType.I8 if as_bytes else place.element,
        pitch=access.pitch,
        slots=place.slots,
        slot_bytes=place.slot_bytes,
        stride=_four(access.stride),
        ring=_four(access.ring),
        phase=access.phase,
    )


def _four(values: tuple[int, ...]) -> tuple[int, int, int, int]:
    padded = (*values, *(0,) * (LOOP_DEPTH - len(values)))
    return padded[0], padded[1], padded[2], padded[3]
