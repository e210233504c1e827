"""npu --> Program: each operation is one instruction of docs/isa.md."""

from __future__ import annotations

from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.npu.base import LOOP_DEPTH, dtype, slot_bytes, slots, space
from girih.passes.allocate import dram_bytes
from girih.runtime.errors import CompilationError
from girih.runtime.executable import DramTensor, Kernel, Layer
from girih.runtime.program import NO_WAIT, DType, Instruction, Opcode, Operand, Program, Space
from girih.runtime.target import Target

_OPCODES: dict[type[npu.Instruction], Opcode] = {
    npu.DmaInOp: Opcode.DMA_IN,
    npu.DmaOutOp: Opcode.DMA_OUT,
    npu.FillOp: Opcode.FILL,
    npu.MatmulOp: Opcode.MATMUL,
    npu.RescaleOp: Opcode.RESCALE,
    npu.AddOp: Opcode.ADD,
    npu.GeluOp: Opcode.GELU,
    npu.LayerNormOp: Opcode.LAYER_NORM,
    npu.ScoresOp: Opcode.SCORES,
    npu.ExponentialOp: Opcode.EXPONENTIAL,
    npu.NormalizeOp: Opcode.NORMALIZE,
    npu.MultiplyOp: Opcode.MULTIPLY,
    npu.FoldOp: Opcode.FOLD,
}
_SPACES = {
    "dram": Space.DRAM,
    "scratchpad": Space.SCRATCHPAD,
    "accumulator": Space.ACCUMULATOR,
}
_DTYPES = {"i8": DType.I8, "ui8": DType.U8, "i16": DType.I16, "i32": DType.I32}


def generate(module: ir.Module, target: Target) -> tuple[dict[str, Kernel], int]:
    """Machine code of every program of a module, and the DRAM bytes that they need together.

    Raises `CompilationError` when the target's DRAM cannot hold the model.
    """
    programs = [op for op in module.body.operations if isinstance(op, npu.ProgramOp)]
    tensors = {program: _tensors(program) for program in programs}
    top = max(
        (op.address.value + dram_bytes(op) for found in tensors.values() for op in found),
        default=0,
    )
    if top > target.dram.capacity_bytes:
        raise CompilationError(
            f"the model takes {top} bytes of DRAM, target {target.name!r} has "
            f"{target.dram.capacity_bytes}"
        )
    kernels = {
        program.sym_name.value: Kernel(
            name=program.sym_name.value,
            program=Program.for_target(
                target, _instructions(program.body.blocks[0]), dram_bytes=top
            ).encode(),
            dram=tuple(_describe(op) for op in tensors[program]),
            layers=tuple(_layer(entry) for entry in program.layers),
        )
        for program in programs
    }
    return kernels, top


def _tensors(program: npu.ProgramOp) -> list[npu.DramOp]:
    return [op for op in program.body.blocks[0].operations if isinstance(op, npu.DramOp)]


def _describe(op: npu.DramOp) -> DramTensor:
    element = dtype(op.buffer).name
    shape = tuple(op.buffer.type.shape)
    return DramTensor(
        op.tensor.value, op.role.value, op.index.value, op.address.value, shape, element
    )


def _layer(entry: ir.DictAttr) -> Layer:
    return Layer(
        name=entry["name"].value,
        operation=entry["operation"].value,
        macs=entry["macs"].value,
        compulsory_bytes=entry["compulsory_bytes"].value,
    )


def _instructions(block: ir.Block) -> list[Instruction]:
    code: list[Instruction] = []
    for op in block.operations:
        if isinstance(op, npu.LoopOp):
            code.append(Instruction(Opcode.LOOP, rows=op.count.value))
            code += _instructions(op.body.blocks[0])
            code.append(Instruction(Opcode.END))
        elif isinstance(op, npu.Instruction):
            code.append(_instruction(op))
    return code


def _instruction(op: npu.Instruction) -> Instruction:
    moves = isinstance(op, npu.DmaInOp | npu.DmaOutOp)
    operands: list[Operand | None] = [
        _operand(operand, op.view(index), as_bytes=moves and index < 2)
        for index, operand in enumerate(op.operands)
    ]
    operands += [None] * (4 - len(operands))
    return Instruction(
        _OPCODES[type(op)],
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


def _operand(buffer: ir.Value, access: npu.Access, as_bytes: bool) -> Operand:
    declaration = buffer.owner.opview
    on_chip = isinstance(declaration, npu.AllocateOp)
    element = DType.I8 if as_bytes else _DTYPES[str(buffer.type.element_type)]
    return Operand(
        space=_SPACES[space(buffer)],
        base=declaration.address.value + access.offset,
        dtype=element,
        pitch=access.pitch,
        slots=slots(buffer) if on_chip else 1,
        slot_bytes=slot_bytes(buffer) if on_chip else 0,
        stride=_four(access.stride),
        ring=_four(access.ring),
        phase=access.phase,
    )


def _four(values: tuple[int, ...]) -> tuple[int, int, int, int]:
    padded = (*values, *(0,) * (LOOP_DEPTH - len(values)))
    return padded[0], padded[1], padded[2], padded[3]
