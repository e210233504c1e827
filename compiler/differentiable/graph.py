"""A whole graph in PyTorch: entry points that pass states on, as a session's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.episodes import Call, Episode
from girih.dialects.mfm.base import numpy_dtype, shape
from girih.passes.differentiable.function import Replace, TorchFunction
from girih.passes.functions import functions_of
from girih.passes.states import state_of
from girih.runtime.errors import InputError

States = Mapping[str, Tensor]


@dataclass(frozen=True)
class _EntryPoint:
    function: TorchFunction
    reads: tuple[str | None, ...]
    """The state that each argument is, or None."""
    writes: tuple[str | None, ...]


class TorchGraph:
    """The functions of a module by name; `states` are zeros to start from.

    The module stays alive as long as this does.
    """

    def __init__(self, module: ir.Module) -> None:
        self._module = module
        self._entries: dict[str, _EntryPoint] = {}
        self.states: dict[str, Tensor] = {}
        for function in functions_of(module):
            self._entries[function.name.value] = self._read(function)

    def _read(self, function: func.FuncOp) -> _EntryPoint:
        arguments = list(function.entry_block.arguments)
        reads = tuple(state_of(function, "arg_attrs", index) for index in range(len(arguments)))
        for argument, state in zip(arguments, reads, strict=True):
            if state is not None:
                zeros = np.zeros(shape(argument), numpy_dtype(argument))
                self.states[state] = torch.from_numpy(zeros)
        count = len(function.type.results)
        writes = tuple(state_of(function, "res_attrs", index) for index in range(count))
        return _EntryPoint(TorchFunction(function), reads, writes)

    @property
    def entries(self) -> list[str]:
        """Names of the entry points."""
        return list(self._entries)

    def parameters(self, entry: str) -> frozenset[str]:
        """Names of the weights that an entry reads."""
        return self._entries[entry].function.parameters

    def reads(self, entry: str) -> frozenset[str]:
        """States that an entry reads."""
        return frozenset(state for state in self._entries[entry].reads if state is not None)

    def arguments(self, call: Call, states: States) -> list[Tensor]:
        """All arguments of a call, states among them; raises `InputError` for a wrong number."""
        if call.entry not in self._entries:
            known = ", ".join(self._entries)
            raise InputError(f"no entry point {call.entry!r}: the model has {known}")
        reads = self._entries[call.entry].reads
        expected = sum(state is None for state in reads)
        if len(call.inputs) != expected:
            raise InputError(
                f"a call of {call.entry!r} has {len(call.inputs)} inputs, expected {expected}"
            )
        given = iter(call.inputs)
        return [next(given) if state is None else states[state] for state in reads]

    def run(
        self,
        call: Call,
        states: States,
        parameters: Mapping[str, Tensor],
        replace: Replace | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The results of a call that are no states, and the states after it."""
        entry = self._entries[call.entry]
        results = entry.function(self.arguments(call, states), parameters, replace)
        return split_states(results, entry.writes, states)

    def follow(
        self, episode: Episode, parameters: Mapping[str, Tensor]
    ) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """The results of each call of an episode that are no states, and the states it leaves."""
        states, results = dict(self.states), list[list[Tensor]]()
        for call in episode:
            outputs, states = self.run(call, states, parameters)
            results.append(outputs)
        return results, states

    def writes(self, entry: str) -> tuple[str | None, ...]:
        """The state that each result of an entry is, or None."""
        return self._entries[entry].writes


def split_states(
    results: Sequence[Any], writes: Sequence[str | None], states: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Results that are no states, and the states with those among the results that are."""
    after = dict(states)
    outputs: list[Any] = []
    for result, state in zip(results, writes, strict=True):
        if state is None:
            outputs.append(result)
        else:
            after[state] = result
    return outputs, after
