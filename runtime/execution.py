"""Runs an executable: whole on IREE, or segment by segment on the accelerator and the host."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.runtime.accelerator import Accelerator
from girih.runtime.errors import InputError
from girih.runtime.executable import Executable
from girih.runtime.iree import IreeExecutor
from girih.runtime.report import Report

Array = NDArray[Any]

DEVICES = ("iree", "npu")


def check_device(device: str) -> None:
    """Raise `InputError` for an unknown device."""
    if device not in DEVICES:
        raise InputError(f"no device {device!r}: expected {' or '.join(DEVICES)}")


class Runner:
    """The devices of one executable; each is made when it is first needed."""

    def __init__(self, executable: Executable) -> None:
        self.executable = executable

    @cached_property
    def iree(self) -> IreeExecutor:
        """The host: IREE with all weights as parameters."""
        return IreeExecutor(self.executable.vmfb, self.executable.parameters)

    @cached_property
    def accelerator(self) -> Accelerator:
        """The simulated accelerator with the weights in its external memory."""
        return Accelerator(self.executable, lambda: self.iree)

    def run(self, entry: str, stored: Sequence[Array], device: str) -> list[Array]:
        """Run an entry on stored arguments, states among them; return stored results."""
        check_device(device)
        if device == "iree":
            return self.iree.call(entry, *stored)
        return self.accelerator.run(entry, stored)[0]

    def simulate(self, entry: str, stored: Sequence[Array]) -> tuple[list[Array], Report]:
        """Run an entry on the accelerator; return stored results and the report."""
        return self.accelerator.run(entry, stored)

    def cost(self, entry: str) -> Report:
        """The report of an entry without data."""
        return self.accelerator.cost(entry)


class Session:
    """Calls in sequence whose states stay on the device.

    ``session["decode"](token, position)`` takes and returns what is not a state. On the
    accelerator `reports` collects one report per call, by entry.
    """

    def __init__(self, runner: Runner, device: str) -> None:
        check_device(device)
        self.runner = runner
        self.device = device
        self.reports: dict[str, list[Report]] = {}
        self._states: dict[str, Any] = {}
        specs = [
            spec
            for entry in runner.executable.entries.values()
            for spec in (*entry.signature.arguments, *entry.signature.results)
            if spec.state is not None
        ]
        for spec in specs:
            self._states[str(spec.state)] = np.zeros(spec.shape, np.dtype(spec.stored))
        if device == "npu":
            runner.accelerator.write_states(self._states)

    def __getitem__(self, name: str) -> SessionEntry:
        if name not in self.runner.executable.entries:
            known = ", ".join(self.runner.executable.entries)
            raise InputError(f"no entry point {name!r}: the program has {known}")
        return SessionEntry(self, name)

    def call(self, name: str, inputs: Sequence[Any], integers: bool) -> tuple[Array, ...]:
        """Run an entry; see `SessionEntry`."""
        signature = self.runner.executable.entries[name].signature
        stored = signature.store(inputs, states=False)
        if self.device == "npu":
            results, report = self.runner.accelerator.run(name, stored, resident=True)
            self.reports.setdefault(name, []).append(report)
        else:
            results = self._call_iree(name, stored)
        return signature.restore(results, states=False, integers=integers)

    def _call_iree(self, name: str, stored: list[Array]) -> list[Array]:
        signature = self.runner.executable.entries[name].signature
        given = iter(stored)
        arguments = [
            next(given) if spec.state is None else self._states[spec.state]
            for spec in signature.arguments
        ]
        outputs = self.runner.iree.call(name, *arguments, resident=True)
        results: list[Array] = []
        for spec, output in zip(signature.results, outputs, strict=True):
            if spec.state is None:
                results.append(np.asarray(output))
            else:
                self._states[spec.state] = output
        return results


class SessionEntry:
    """One entry point of a session."""

    def __init__(self, session: Session, name: str) -> None:
        self.session = session
        self.name = name

    def __call__(self, *inputs: Any, integers: bool = False) -> tuple[Array, ...]:
        """Run with the session's states; arguments and results exclude states."""
        return self.session.call(self.name, inputs, integers)
