"""`Program`: a compiled model that runs on the host, on the simulated accelerator, by reference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.recipe_table import RecipeTable
from girih.passes.interpreter import function_named, interpret
from girih.runtime.errors import InputError
from girih.runtime.executable import Executable
from girih.runtime.execution import Runner, Session
from girih.runtime.report import Simulation

Array = NDArray[Any]

MAPPING = "mapping"
"""Where an executable's metadata holds the tiles of its regions."""


class EntryPoint:
    """One entry point of a program. Calls are stateless: states are arguments and results."""

    def __init__(self, program: CompiledProgram, name: str) -> None:
        self.program = program
        self.name = name
        self.entry = program.executable.entries[name]

    def __call__(
        self, *inputs: Any, device: str = "iree", integers: bool = False
    ) -> tuple[Array, ...]:
        """Run on ``iree`` or ``npu``; `integers` returns quantized results as they are.

        Raises `InputError` for arguments of other shapes or dtypes.
        """
        signature = self.entry.signature
        stored = signature.store(inputs, states=True)
        results = self.program.runner.run(self.name, stored, device)
        return signature.restore(results, states=True, integers=integers)

    def simulate(self, *inputs: Any, integers: bool = False) -> Simulation:
        """Run on the simulated accelerator: outputs and the cost report."""
        signature = self.entry.signature
        stored = signature.store(inputs, states=True)
        results, report = self.program.runner.simulate(self.name, stored)
        return Simulation(signature.restore(results, states=True, integers=integers), report)

    def cost(self) -> Simulation:
        """The cost report without computing any value: the same cycles, no data."""
        return Simulation((), self.program.runner.cost(self.name))

    def reference(self, *inputs: Any, integers: bool = False) -> tuple[Array, ...]:
        """The NumPy meaning of the same compiled graph, operation by operation."""
        signature = self.entry.signature
        stored = signature.store(inputs, states=True)
        with self.program.module.context:
            function = function_named(self.program.module, self.name)
            results = interpret(function, stored, self.program.executable.parameters)
        return signature.restore(results, states=True, integers=integers)


class CompiledProgram:
    """A compiled program. With one entry point it is itself callable."""

    def __init__(self, executable: Executable) -> None:
        self.executable = executable

    @cached_property
    def runner(self) -> Runner:
        """The devices, made on first use."""
        return Runner(self.executable)

    @cached_property
    def module(self) -> ir.Module:
        """The compiled graph in the `mfm` dialect."""
        return ir.Module.parse(self.executable.module, create_context())

    def __getitem__(self, name: str) -> EntryPoint:
        if name not in self.executable.entries:
            known = ", ".join(self.executable.entries)
            raise InputError(f"no entry point {name!r}: the program has {known}")
        return EntryPoint(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.executable.entries)

    def __call__(
        self, *inputs: Any, device: str = "iree", integers: bool = False
    ) -> tuple[Array, ...]:
        """Run the only entry point; see `EntryPoint.__call__`."""
        return self._only(*inputs, device=device, integers=integers)

    def simulate(self, *inputs: Any, integers: bool = False) -> Simulation:
        """Simulate the only entry point; see `EntryPoint.simulate`."""
        return self._only.simulate(*inputs, integers=integers)

    def reference(self, *inputs: Any, integers: bool = False) -> tuple[Array, ...]:
        """Interpret the only entry point; see `EntryPoint.reference`."""
        return self._only.reference(*inputs, integers=integers)

    @property
    def mapping(self) -> str:
        """The tiles of every region, as a file that `girih.compile(mapping=...)` reads."""
        return self.executable.metadata.get(MAPPING, "")

    @property
    def recipe_table(self) -> RecipeTable:
        """What the recipe came to: precision, bytes and the rule that decided, by weight."""
        return RecipeTable.of(self.executable)

    def session(self, device: str = "iree") -> Session:
        """A run of several calls whose states stay on the device; they start as zeros."""
        return Session(self.runner, device)

    def save(self, path: str | Path) -> None:
        """Write the artifact, whole or not at all."""
        from girih.compiler.artifact import save

        save(self.executable, Path(path))

    @property
    def _only(self) -> EntryPoint:
        names = list(self.executable.entries)
        if len(names) != 1:
            raise InputError(f"choose an entry point: program[{names[0]!r}](...)")
        return self[names[0]]
