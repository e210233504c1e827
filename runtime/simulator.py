"""Machine: the simulated accelerator, on data or for its timing alone.

A thin face over the C++ core in `runtime/simulator/`. docs/isa.md defines what programs mean, when
instructions start and end, and what is refused.

    machine = Machine(Target.load("edge"), dram_bytes=1 << 20)
    machine.write_dram(0, weights)
    result = machine.run(program)
    result.cycles, result.energy_joules, result.tags[3].macs
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from girih.runtime import _simulator
from girih.runtime.assembler import disassemble_instruction
from girih.runtime.energy import Energy
from girih.runtime.errors import GirihError, ProgramError
from girih.runtime.memory import RowCounts
from girih.runtime.program import Engine, Opcode, Program
from girih.runtime.target import Target

__all__ = [
    "Counts",
    "EnergyBreakdown",
    "LoadedProgram",
    "Machine",
    "RowCounts",
    "SimulationResult",
    "TagStatistics",
    "Timeline",
    "available_kernels",
]


def available_kernels() -> tuple[str, ...]:
    """Instruction sets with kernels for this processor, best first; "scalar" is always there."""
    return tuple(_simulator.kernel_names())


@dataclass(frozen=True, slots=True)
class EnergyBreakdown:
    """Energy in joules by cause (docs/isa.md, the last paragraph)."""

    mac: float
    vector: float
    scratchpad: float
    accumulator: float
    dram: float
    activate: float
    static: float

    @property
    def total(self) -> float:
        """The sum."""
        on_chip = self.mac + self.vector + self.scratchpad + self.accumulator
        return on_chip + self.dram + self.activate + self.static


@dataclass(frozen=True, slots=True)
class Counts:
    """What instructions did, in events that cost energy.

    `dram_read_bytes` and `dram_write_bytes` are those that a program asked for; `dram_bus_bytes`
    are both in whole bursts of the target, and what energy is charged for.
    """

    instructions: int
    macs: int
    vector_operations: int
    dram_read_bytes: int
    dram_write_bytes: int
    dram_bus_bytes: int
    scratchpad_read_bytes: int
    scratchpad_write_bytes: int
    accumulator_read_bytes: int
    accumulator_write_bytes: int
    rows: RowCounts = field(default_factory=RowCounts)

    @classmethod
    def sum(cls, counts: Iterable[Counts]) -> Counts:
        """Field by field."""
        kept = list(counts)
        numbers = [name for name in cls.__slots__ if name != "rows"]
        return cls(
            *(sum(getattr(one, name) for one in kept) for name in numbers),
            rows=RowCounts.sum(one.rows for one in kept),
        )

    def energy(self, table: Energy, seconds: float = 0.0) -> EnergyBreakdown:
        """The energy of these events, and of static power during `seconds`."""
        pico = 1e-12
        scratchpad_bytes = self.scratchpad_read_bytes + self.scratchpad_write_bytes
        accumulator_bytes = self.accumulator_read_bytes + self.accumulator_write_bytes
        return EnergyBreakdown(
            mac=self.macs * table.mac.value * pico,
            vector=self.vector_operations * table.vector_operation.value * pico,
            scratchpad=scratchpad_bytes * table.scratchpad.value * pico,
            accumulator=accumulator_bytes * table.accumulator.value * pico,
            dram=self.dram_bus_bytes * table.dram.value * pico,
            activate=self.rows.activates * (table.activate.value if table.activate else 0.0) * pico,
            static=seconds * table.static.value,
        )


@dataclass(frozen=True, slots=True)
class TagStatistics:
    """What the instructions of one tag (a layer) did, and when.

    Attributes:
        tag: the tag of the instructions.
        start_cycle: start of the earliest.
        end_cycle: completion of the latest. Layers overlap, so these spans may too.
        busy_cycles: cycles that each engine spent on the tag.
        counts: the events.
    """

    tag: int
    start_cycle: int
    end_cycle: int
    busy_cycles: Mapping[Engine, int]
    counts: Counts

    @property
    def bound_by(self) -> Engine:
        """The engine that is busy longest."""
        return max(self.busy_cycles, key=lambda engine: self.busy_cycles[engine])


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every executed instruction in program order, one array per field, in cycles.

    `end` is when the engine can take its next instruction, `completion` when those that wait for
    it may go on.
    """

    engine: npt.NDArray[np.uint8]
    opcode: npt.NDArray[np.uint8]
    tag: npt.NDArray[np.uint32]
    start: npt.NDArray[np.uint64]
    end: npt.NDArray[np.uint64]
    completion: npt.NDArray[np.uint64]
    instruction: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.start)

    def opcode_name(self, event: int) -> str:
        """The name of the opcode of an event."""
        return Opcode(int(self.opcode[event])).name.lower()


@dataclass(frozen=True)
class SimulationResult:
    """What one run did.

    Attributes:
        target: of the machine.
        cycles: completion of the last instruction.
        busy_cycles: cycles that each engine was busy.
        tags: statistics by tag.
        timeline: the events, when asked for.
    """

    target: Target
    cycles: int
    busy_cycles: Mapping[Engine, int]
    tags: Mapping[int, TagStatistics]
    timeline: Timeline | None

    @property
    def seconds(self) -> float:
        """The simulated time."""
        return self.target.seconds(self.cycles)

    @cached_property
    def counts(self) -> Counts:
        """The events of all tags."""
        return Counts.sum(tag.counts for tag in self.tags.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.counts.macs

    @property
    def dram_read_bytes(self) -> int:
        """Bytes that dma_in read."""
        return self.counts.dram_read_bytes

    @property
    def dram_write_bytes(self) -> int:
        """Bytes that dma_out wrote."""
        return self.counts.dram_write_bytes

    @property
    def utilization(self) -> float:
        """Multiply-accumulates done, of those that the array could do in that time: 0 to 1."""
        return self.macs / (self.cycles * self.target.macs_per_cycle) if self.cycles else 0.0

    @cached_property
    def energy(self) -> EnergyBreakdown:
        """The energy by cause."""
        return self.counts.energy(self.target.energy, self.seconds)

    @property
    def energy_joules(self) -> float:
        """The energy in all."""
        return self.energy.total


class LoadedProgram:
    """A program that the core has read and found well formed: runs without being checked again."""

    def __init__(self, program: Program | bytes | bytearray | memoryview) -> None:
        """Checks a program.

        Raises:
            ProgramError: damaged or malformed; the message names the instruction.
        """
        self._source = program
        data = program.encode() if isinstance(program, Program) else program
        try:
            self.native = _simulator.Program(data)
        except _simulator.RefusedError as error:
            raise self.explain(error) from None

    @property
    def dram_bytes(self) -> int:
        """DRAM that the program needs."""
        return self.native.dram_bytes

    def synchronize(self) -> None:
        """Give its instructions the waits that they need, whatever they had."""
        self.native.synchronize()

    def wait_distances(self) -> npt.NDArray[np.uint16]:
        """The waits that its instructions need: (instructions, engines), NO_WAIT for none.

        Those in the program are not looked at. docs/isa.md, Order.
        """
        return _simulator.wait_distances(self.native).reshape(-1, 4)

    def explain(self, error: _simulator.RefusedError) -> ProgramError:
        message, index = error.args
        if index < 0:
            return ProgramError(message)
        try:
            if not isinstance(self._source, Program):
                self._source = Program.decode(self._source)
            line = disassemble_instruction(self._source.instructions[index])
        except ProgramError:  # too broken for a line of text; the message says enough
            return ProgramError(message)
        return ProgramError(f"{message}\n  {index}: {line}")


class Machine:
    """A simulated accelerator: on-chip memories, engines, and a DRAM that persists between runs."""

    def __init__(
        self,
        target: str | os.PathLike[str] | Target,
        *,
        dram_bytes: int | None = None,
        kernels: str | None = None,
        threads: int | None = None,
    ) -> None:
        """Makes a machine; memory is allocated when it is first used.

        Args:
            target: a Target, or what `Target.load` takes.
            dram_bytes: size of the DRAM; the target's capacity when None.
            kernels: one of `available_kernels()`; when None, the environment variable
                GIRIH_SIMULATOR_KERNELS, or else the best.
            threads: for large matrix products; when None, GIRIH_SIMULATOR_THREADS, or else the
                number of cores, at most 4. Results do not depend on it.

        Raises:
            TargetError: no such target.
            GirihError: no such kernels, or an impossible number.
        """
        loaded = target if isinstance(target, Target) else Target.load(os.fspath(target))
        self.target = loaded
        self.dram_bytes = loaded.dram.capacity_bytes if dram_bytes is None else dram_bytes
        if not 0 <= self.dram_bytes <= loaded.dram.capacity_bytes:
            raise GirihError(
                f"target {loaded.name} has {loaded.dram.capacity_bytes} bytes of DRAM, "
                f"found a need for {self.dram_bytes}"
            )
        if kernels is None:
            kernels = os.environ.get("GIRIH_SIMULATOR_KERNELS", "")
        try:
            if threads is None:
                threads = int(os.environ.get("GIRIH_SIMULATOR_THREADS", min(_cores(), 4)))
            if not 1 <= threads <= 64:
                raise ValueError(f"expected 1 to 64 threads, found {threads}")
            self._machine = _simulator.Machine(
                _parameters(loaded, self.dram_bytes), kernels, threads
            )
        except ValueError as error:
            raise GirihError(f"simulator: {error}") from error

    @property
    def kernels(self) -> str:
        """The instruction set of the kernels in use."""
        return self._machine.kernels

    @property
    def threads(self) -> int:
        """Threads for large matrix products."""
        return self._machine.threads

    def write_dram(self, address: int, data: Any) -> None:
        """Copies the bytes of a C-contiguous buffer (array, bytes, memoryview) to DRAM.

        Raises:
            ProgramError: out of range, or not contiguous.
        """
        try:
            self._machine.write_dram(address, data)
        except (IndexError, OverflowError, TypeError, BufferError, ValueError) as error:
            raise ProgramError(f"write_dram: {error}") from error

    def read_dram(self, address: int, bytes: int) -> npt.NDArray[np.uint8]:
        """A copy of bytes of DRAM; what nothing has written is zero.

        Raises:
            ProgramError: out of range.
        """
        out = np.empty(bytes, np.uint8)
        self.read_dram_into(address, out)
        return out

    def read_dram_into(self, address: int, out: Any) -> None:
        """Copies bytes of DRAM into a writable C-contiguous buffer, filling it.

        Raises:
            ProgramError: out of range, not contiguous or not writable.
        """
        try:
            self._machine.read_dram_into(address, out)
        except (IndexError, OverflowError, TypeError, BufferError, ValueError) as error:
            raise ProgramError(f"read_dram: {error}") from error

    def read_array(
        self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike
    ) -> npt.NDArray[Any]:
        """A copy of DRAM as an array of the shape and dtype, C order.

        Raises:
            ProgramError: out of range.
        """
        out = np.empty(shape, dtype)
        self.read_dram_into(address, out)
        return out

    def is_initialized(self, address: int, bytes: int) -> bool:
        """Whether the host or a program has written every one of the bytes."""
        try:
            return self._machine.is_initialized(address, bytes)
        except (IndexError, OverflowError, TypeError) as error:
            raise ProgramError(f"is_initialized: {error}") from error

    def load(self, program: Program | bytes | bytearray | memoryview) -> LoadedProgram:
        """Checks a program once, for many runs.

        Raises:
            ProgramError: damaged or malformed; the message names the instruction.
        """
        return LoadedProgram(program)

    def run(
        self,
        program: Program | LoadedProgram | bytes | bytearray | memoryview,
        *,
        functional: bool = True,
        timeline: bool = False,
    ) -> SimulationResult:
        """Runs a program to its end. The GIL is released meanwhile.

        On-chip memories are uninitialized at the start; DRAM is as the host and earlier runs left
        it. After an error DRAM holds what the instructions before it wrote.

        Args:
            program: the program, or the bytes of a program file; `load` it first to run it often.
            functional: compute on data, and check initialization and order. False computes the
                same cycles and checks ranges only; it needs no memory.
            timeline: also return every event.

        Raises:
            ProgramError: malformed; for another machine; or an access that is out of range,
                uninitialized or a hazard. The message names the instruction, its loop iteration,
                engine and address, and for a hazard the other instruction.
        """
        loaded = program if isinstance(program, LoadedProgram) else LoadedProgram(program)
        try:
            fields = self._machine.run(loaded.native, functional, timeline)
        except _simulator.RefusedError as error:
            raise loaded.explain(error) from None
        return SimulationResult(
            target=self.target,
            cycles=fields["cycles"],
            busy_cycles=_by_engine(fields["busy_cycles"]),
            tags={tag["tag"]: _tag_statistics(tag) for tag in fields["tags"]},
            timeline=Timeline(**fields["timeline"]) if timeline else None,
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _by_engine(values: tuple[int, ...]) -> dict[Engine, int]:
    return {Engine(number): value for number, value in enumerate(values)}


def _tag_statistics(fields: dict[str, Any]) -> TagStatistics:
    return TagStatistics(
        tag=fields.pop("tag"),
        start_cycle=fields.pop("start_cycle"),
        end_cycle=fields.pop("end_cycle"),
        busy_cycles=_by_engine(fields.pop("busy_cycles")),
        counts=Counts(rows=RowCounts(**fields.pop("rows")), **fields),
    )


def _parameters(target: Target, dram_bytes: int) -> dict[str, Any]:
    costs = target.vector.costs.model_dump()
    pages = target.dram.page_parameters(target.frequency_hz)
    return {
        "scratchpad_bytes": target.scratchpad_bytes,
        "accumulator_bytes": target.accumulator_bytes,
        "dram_bytes": dram_bytes,
        "frequency_hz": target.frequency_hz,
        "array_rows": target.array.rows,
        "array_columns": target.array.columns,
        "vector_lanes": target.vector.lanes,
        "vector_latency_cycles": target.vector.latency_cycles,
        "root_divide_cycles": costs.pop("root_divide"),
        "vector_costs": costs,
        "dram_bytes_per_second": target.dram.bandwidth_bytes_per_second,
        "dram_latency_cycles": target.dram.latency_cycles,
        "dram_burst_bytes": target.dram.burst_bytes,
        "dram_overhead_cycles": target.dram.overhead_cycles,
        **({} if pages is None else {"dram_pages": pages}),
    }
