"""What is compiled: modules with their inputs, as entry points by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from girih.runtime.errors import CompilationError

Module = torch.nn.Module | ExportedProgram
Inputs = Sequence[Tensor] | Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """An entry point with states: tensors that stay on the device from call to call.

    `inputs` are tensors by position, or by name as keyword arguments, where what is not a tensor
    is part of the program. `reads` maps argument positions, and `writes` result positions, to
    state names. Entries that mention the same name share the tensor. ``(module, inputs)`` is an
    entry without states.
    """

    module: Module
    inputs: Inputs
    reads: Mapping[int, str] = field(default_factory=dict[int, str])
    writes: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The program's arguments, in order."""
        values = self.inputs.values() if isinstance(self.inputs, Mapping) else self.inputs
        return tuple(value for value in values if isinstance(value, Tensor))


def entries_of(
    module: Module | Mapping[str, Entry | tuple[Module, Inputs]], example_inputs: Inputs | None
) -> dict[str, Entry]:
    """What is to be compiled, by name, checked; raises `CompilationError`."""
    if not isinstance(module, Mapping):
        if example_inputs is None:
            raise CompilationError("compile needs example_inputs, a tuple of tensors")
        return {"main": _entry("main", Entry(module, example_inputs))}
    if example_inputs is not None:
        raise CompilationError("with several entries, each brings its own example inputs")
    if not module:
        raise CompilationError("found no entry point to compile")
    return {
        name: _entry(name, entry if isinstance(entry, Entry) else Entry(*entry))
        for name, entry in module.items()
    }


def _entry(name: str, entry: Entry) -> Entry:
    inputs: Inputs = entry.inputs
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    elif not isinstance(inputs, Mapping):
        inputs = tuple(inputs)
    if not name.isidentifier():
        raise CompilationError(f"entry name {name!r} is not an identifier")
    module: object = entry.module
    if not isinstance(module, torch.nn.Module | ExportedProgram):
        raise CompilationError(
            f"entry {name!r} is a {type(entry.module).__name__}, expected a torch.nn.Module or a "
            "torch.export.ExportedProgram"
        )
    values: Sequence[object] = () if isinstance(inputs, Mapping) else inputs
    for index, value in enumerate(values):
        if not isinstance(value, Tensor):
            raise CompilationError(
                f"example input {index} of entry {name!r} is a {type(value).__name__}, "
                "expected a torch.Tensor"
            )
    return Entry(entry.module, inputs, entry.reads, entry.writes)
