"""Orders the engines: sets how far behind the others each instruction may run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.npu.machine_code import instructions
from girih.passes.allocate import dram_bytes, walk
from girih.passes.base import Compilation
from girih.runtime.errors import CompilationError
from girih.runtime.program import NO_WAIT, Engine, Program
from girih.runtime.simulator import LoadedProgram
from girih.runtime.target import Target


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
        if compilation.target is None:
            raise CompilationError("synchronize needs a target")
        for program in module.body.operations:
            if isinstance(program, npu.ProgramOp):
                _synchronize(program, compilation.target)


def _synchronize(program: npu.ProgramOp, target: Target) -> None:
    block = program.body.blocks[0]
    top = 0
    for op in walk(block):
        if isinstance(op, npu.DramOp | npu.AllocateOp) and op.address.value < 0:
            raise CompilationError("synchronize needs addresses: run allocate before it")
        if isinstance(op, npu.DramOp):
            top = max(top, op.address.value + dram_bytes(op))
    code = Program.for_target(target, instructions(block), dram_bytes=top)
    waits = LoadedProgram(code.encode()).wait_distances()
    steps = zip(code.instructions, waits, strict=True)
    distances = [row.tolist() for step, row in steps if step.engine is not Engine.NONE]
    executed = [op for op in walk(block) if isinstance(op, npu.Instruction)]
    for op, row in zip(executed, distances, strict=True):
        op.operation.attributes["waits"] = ir.DenseI64ArrayAttr.get(
            [-1 if wait == NO_WAIT else wait for wait in row]
        )
