"""What a recipe saves: bytes, cycles and energy, of the simulator without data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch_mlir import ir

from girih.compiler.compilation import import_entries, used_parameters
from girih.compiler.context import create_context
from girih.compiler.entries import Entry
from girih.compiler.hollow import hollowed, with_hollow_inputs
from girih.compiler.patches import Patch
from girih.compiler.pipeline import Dump, copy_module, graph_passes, run_passes
from girih.compiler.recipe import Recipe
from girih.compiler.timing import time_graph
from girih.passes.base import Compilation
from girih.runtime.target import Target


@dataclass(frozen=True)
class Cost:
    """Of a program: bytes of its parameters; and of an episode: cycles, energy and DRAM traffic."""

    bytes: int
    cycles: float
    energy_joules: float
    dram_bytes: float


class Simulator:
    """Costs of recipes for one model on one target; the model is imported once, without weights.

    calls: how often an episode calls each entry, in the mean.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        target: Target,
        calls: Mapping[str, float],
        patches: Sequence[Patch] = (),
    ) -> None:
        self.target, self.calls = target, dict(calls)
        self._context = create_context()
        self._context.enable_multithreading(False)  # threads do not outlive a fork
        modules = [
            entry.module for entry in entries.values() if isinstance(entry.module, nn.Module)
        ]
        with self._context, ir.Location.unknown(), hollowed(modules):
            shapes = {
                name: dataclasses.replace(entry, inputs=with_hollow_inputs(entry.inputs))
                for name, entry in entries.items()
            }
            self._graph, self._parameters = import_entries(
                shapes, patches, lambda stage: None, values=False
            )

    def cost(self, recipe: Recipe) -> Cost:
        """The cost of a recipe; raises `GirihError` where the target cannot run it."""
        with self._context, ir.Location.unknown():
            graph = copy_module(self._graph)
            compilation = Compilation(dict(self._parameters), self.target)
            run_passes(graph, graph_passes(recipe, values=False), compilation)
            stored = used_parameters(graph, compilation.parameters)
            reports = time_graph(graph, list(self.calls), compilation, Dump(), lambda stage: None)
        return Cost(
            bytes=sum(array.nbytes for array in stored.values()),
            cycles=sum(self.calls[name] * each.cycles for name, each in reports.items()),
            energy_joules=sum(
                self.calls[name] * each.energy_joules for name, each in reports.items()
            ),
            dram_bytes=sum(
                self.calls[name] * (each.dram_read_bytes + each.dram_write_bytes)
                for name, each in reports.items()
            ),
        )
