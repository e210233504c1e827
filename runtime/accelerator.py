"""Runs entry points on the simulated accelerator, their host segments on IREE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.runtime.errors import InputError
from girih.runtime.executable import DramTensor, Entry, Executable, Kernel, Step
from girih.runtime.iree import IreeExecutor
from girih.runtime.report import Report
from girih.runtime.simulator import LoadedProgram, Machine
from girih.runtime.target import Target

Array = NDArray[Any]


def time_entry(target: Target, entry: Entry, kernels: Mapping[str, Kernel]) -> Report:
    """The report of an entry from its kernels' timing alone, without weights or a timeline."""
    machine = Machine(target)
    reports: list[Report] = []
    for step in entry.steps:
        if step.kind == "npu":
            kernel = kernels[step.function]
            result = machine.run(kernel.program, functional=False)
            reports.append(
                Report.from_statistics(target, kernel.layers, result.cycles, result.tags)
            )
    return _report(target, entry, reports)


def _report(target: Target, entry: Entry, reports: Sequence[Report]) -> Report:
    if not reports:
        return Report.empty(target, entry.host_operations)
    return Report.merge(reports).with_host_operations(entry.host_operations)


class Accelerator:
    """A machine with an executable's weights in its DRAM.

    States live in DRAM: a `resident` call neither takes nor returns them. The host's executor is
    only made when a segment stays on the host.
    """

    def __init__(self, executable: Executable, host: Callable[[], IreeExecutor]) -> None:
        self.executable = executable
        self._host = host
        self.machine = Machine(executable.target, dram_bytes=max(executable.dram_bytes, 64))
        self._programs = {
            name: self.machine.load(kernel.program) for name, kernel in executable.kernels.items()
        }
        self._states: dict[str, DramTensor] = {}
        self._host_states: dict[str, Array] = {}
        written: set[str] = set()
        for kernel in executable.kernels.values():
            for tensor in kernel.dram:
                if tensor.role == "parameter" and tensor.name not in written:
                    written.add(tensor.name)
                    array = executable.parameters[tensor.name]
                    self.machine.write_dram(tensor.address, np.ascontiguousarray(array))
                elif tensor.role == "state":
                    self._states[tensor.name] = tensor

    def write_states(self, states: Mapping[str, Array]) -> None:
        """Set states by name."""
        for name, value in states.items():
            if name in self._states:
                self._write(self._states[name], value)
            else:
                self._host_states[name] = value

    def run(
        self, entry_name: str, stored: Sequence[Array], resident: bool = False
    ) -> tuple[list[Array], Report]:
        """Run an entry on stored arguments; return its stored results and the report.

        Args:
            entry_name: of the executable.
            stored: all arguments, or with `resident` those that are not states.
            resident: leave states where they are; the results then exclude them too.
        """
        entry = self.executable.entries[entry_name]
        signature = entry.signature
        values: dict[int, Array] = {}
        given = iter(stored)
        for number, spec in enumerate(signature.arguments):
            if spec.state is None or not resident:
                values[number] = next(given)
            if spec.state is not None and not resident:
                self.write_states({spec.state: values[number]})
        reports: list[Report] = []
        for step in entry.steps:
            self._run_step(entry, step, values, reports)
        results: list[Array] = []
        for spec, number in zip(signature.results, entry.returns, strict=True):
            if spec.state is None:
                results.append(values[number])
            elif number in values:
                # Made on the host: the device's copy must follow.
                self.write_states({spec.state: values[number]})
                results += [] if resident else [values[number]]
            elif not resident:
                results.append(self._read_state(spec.state))
        return results, _report(self.executable.target, entry, reports)

    def cost(self, entry_name: str) -> Report:
        """The report of an entry from its timing alone: no data, the same cycles."""
        entry = self.executable.entries[entry_name]
        reports = [
            self._simulate(self.executable.kernels[step.function], functional=False)
            for step in entry.steps
            if step.kind == "npu"
        ]
        return _report(self.executable.target, entry, reports)

    def _run_step(
        self, entry: Entry, step: Step, values: dict[int, Array], reports: list[Report]
    ) -> None:
        arguments = entry.signature.arguments
        if step.kind == "host":
            inputs = [
                values[number]
                if number in values
                else self._read_state(str(arguments[number].state))
                for number in step.arguments
            ]
            values.update(zip(step.results, self._host().call(step.function, *inputs), strict=True))
            return
        kernel = self.executable.kernels[step.function]
        for tensor in kernel.dram:
            if tensor.role == "argument":
                self._write(tensor, values[step.arguments[tensor.index]])
        reports.append(self._simulate(kernel, functional=True))
        for tensor in kernel.dram:
            if tensor.role == "result":
                number = step.results[tensor.index]
                values[number] = self.machine.read_array(tensor.address, tensor.shape, tensor.dtype)

    def _simulate(self, kernel: Kernel, functional: bool) -> Report:
        program: LoadedProgram = self._programs[kernel.name]
        # The timeline is kept only where nobody waits for data: it slows a functional run.
        result = self.machine.run(program, functional=functional, timeline=not functional)
        return Report.from_statistics(
            self.executable.target, kernel.layers, result.cycles, result.tags, result.timeline
        )

    def _write(self, tensor: DramTensor, value: Array) -> None:
        array = np.asarray(value)
        dtype = np.dtype(tensor.dtype)
        if array.dtype != dtype:
            # Positions and token numbers are 64-bit outside and 32-bit in DRAM.
            converted = array.astype(dtype)
            if not np.array_equal(converted, array):
                raise InputError(f"{tensor.name} holds a number that does not fit {dtype}")
            array = converted
        self.machine.write_dram(tensor.address, np.ascontiguousarray(array))

    def _read_state(self, name: str) -> Array:
        if name in self._host_states:
            return self._host_states[name]
        tensor = self._states[name]
        return self.machine.read_array(tensor.address, tensor.shape, tensor.dtype)
