"""npu --> Program: one file a program, and what it must know of the others."""

from __future__ import annotations

from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.npu.base import dtype
from girih.dialects.npu.machine_code import instructions
from girih.passes.allocate import dram_bytes
from girih.runtime.errors import CompilationError
from girih.runtime.executable import DramTensor, Kernel, Layer
from girih.runtime.program import Program
from girih.runtime.target import Target


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
                target, instructions(program.body.blocks[0]), dram_bytes=top
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
