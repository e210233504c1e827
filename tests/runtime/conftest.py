"""What the simulator's tests share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from girih.runtime.program import (
    DType,
    Engine,
    Instruction,
    MatmulFlag,
    Opcode,
    Operand,
    Program,
    Space,
    waits,
)
from girih.runtime.simulator import LoadedProgram, Machine
from girih.runtime.target import Target

CANARY = 0x5A


def _serial(opcode: Opcode) -> tuple[int, int, int, int]:
    """Waits for everything that the other engines were given before."""
    engine = Instruction(opcode).engine
    every = dict.fromkeys(("dma_in", "dma_out", "matrix", "vector"), 0)
    if engine is not Engine.NONE:
        del every[engine.name.lower()]
        return waits(**every)
    return waits()


@dataclass
class Bench:
    """Builds a program that brings arrays on chip, runs instructions one by one, brings them back.

    Targets lie on a canary, so that a write beside them shows.
    """

    kernels: str | None = None
    target: Target = field(default_factory=lambda: Target.load("edge"))
    dram: bytearray = field(default_factory=bytearray)
    instructions: list[Instruction] = field(default_factory=list)
    scratchpad_end: int = 0
    accumulator_end: int = 0
    targets: list[tuple[Operand, int, int, int]] = field(default_factory=list)

    def do(self, opcode: Opcode, **fields: Any) -> None:
        """Adds an instruction that waits for everything before it."""
        self.instructions.append(Instruction(opcode, wait=_serial(opcode), **fields))

    def put(self, values: npt.NDArray[Any], gap: int = 0) -> Operand:
        """An array (rows, columns) in the scratchpad, rows `gap` elements apart."""
        dtype = DType.of(values.dtype)
        pitch = (values.shape[1] + gap) * dtype.bytes
        padded = np.zeros((values.shape[0], values.shape[1] + gap), values.dtype)
        padded[:, : values.shape[1]] = values
        address = self._bring(padded.tobytes())
        return Operand(Space.SCRATCHPAD, address, dtype, pitch=pitch)

    def room(self, rows: int, columns: int, dtype: DType, gap: int = 0) -> Operand:
        """A target (rows, columns) in the scratchpad, whose values `run` returns."""
        pitch = (columns + gap) * dtype.bytes
        address = self._bring(bytes([CANARY]) * (rows * pitch))
        operand = Operand(Space.SCRATCHPAD, address, dtype, pitch=pitch)
        self.watch(operand, rows, columns)
        return operand

    def watch(self, operand: Operand, rows: int, columns: int) -> None:
        """Has `run` return these values too."""
        self.dram.extend(bytes(-len(self.dram) % 64))
        self.targets.append((operand, rows, columns, len(self.dram)))
        self.dram.extend(bytes(rows * operand.pitch))

    def product(
        self, a: npt.NDArray[Any], b: npt.NDArray[Any], repeat: int, gap: int = 0
    ) -> tuple[Operand, npt.NDArray[np.int32]]:
        """`repeat * (a @ b)` modulo 2^32 in the accumulator, and the same as an array."""
        rows, depth = a.shape
        columns = b.shape[1]
        pitch = (columns + gap) * 4
        left, right = self.put(a), self.put(b)
        operand = Operand(Space.ACCUMULATOR, self.accumulator_end, DType.I32, pitch=pitch)
        self.accumulator_end += (rows * pitch + 63) // 64 * 64
        size = {"rows": rows, "columns": columns, "depth": depth}
        self.do(Opcode.MATMUL, **size, a=left, b=right, c=operand)
        if repeat > 1:
            self.do(Opcode.LOOP, rows=repeat - 1)
            flags = MatmulFlag.ACCUMULATE
            self.do(Opcode.MATMUL, **size, a=left, b=right, c=operand, flags=flags)
            self.do(Opcode.END)
        wide = (a.astype(np.int64) @ b.astype(np.int64)) * repeat
        return operand, wide.astype(np.uint64).astype(np.uint32).view(np.int32)

    def program(self) -> Program:
        """Everything so far, and the way back of what is watched."""
        back = [
            Instruction(
                Opcode.DMA_OUT,
                rows=1,
                columns=rows * operand.pitch,
                a=Operand(Space.SCRATCHPAD, operand.base),
                b=Operand(Space.DRAM, address),
                wait=_serial(Opcode.DMA_OUT),
            )
            for operand, rows, _, address in self.targets
        ]
        return Program.for_target(self.target, [*self.instructions, *back], max(len(self.dram), 64))

    def run(self) -> list[npt.NDArray[Any]]:
        """The watched values, after checking that nothing beside them changed."""
        program = self.program()
        machine = Machine(self.target, dram_bytes=program.dram_bytes, kernels=self.kernels)
        machine.write_dram(0, self.dram)
        loaded = LoadedProgram(program)
        functional = machine.run(loaded)
        assert machine.run(loaded, functional=False).cycles == functional.cycles
        outputs: list[npt.NDArray[Any]] = []
        for operand, rows, columns, address in self.targets:
            shape = (rows, operand.pitch // operand.dtype.bytes)
            values = machine.read_array(address, shape, operand.dtype.numpy)
            gaps = np.ascontiguousarray(values[:, columns:]).view(np.uint8)
            assert (gaps == CANARY).all(), "wrote beside the target"
            outputs.append(values[:, :columns])
        return outputs

    def _bring(self, data: bytes) -> int:
        self.dram.extend(bytes(-len(self.dram) % 64))
        source = len(self.dram)
        self.dram.extend(data)
        address = self.scratchpad_end
        self.scratchpad_end += (len(data) + 63) // 64 * 64
        self.do(
            Opcode.DMA_IN,
            rows=1,
            columns=len(data),
            a=Operand(Space.DRAM, source),
            b=Operand(Space.SCRATCHPAD, address),
        )
        return address


@pytest.fixture(scope="session")
def bench() -> type[Bench]:
    """The class `Bench`."""
    return Bench
