"""`girih.estimate`: what a model would cost, from its shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import overload

from torch import nn
from torch_mlir import ir

from girih.compiler.compilation import import_entries
from girih.compiler.context import create_context
from girih.compiler.entries import Entry, Inputs, Module, entries_of
from girih.compiler.hollow import hollowed, with_hollow_inputs
from girih.compiler.parallel import time_parallel
from girih.compiler.patches import Patch
from girih.compiler.pipeline import Dump, graph_passes, run_passes
from girih.compiler.recipe import Recipe
from girih.compiler.timing import time_graph
from girih.passes.base import Compilation
from girih.runtime.errors import CompilationError
from girih.runtime.report import Report
from girih.runtime.target import Target


@overload
def estimate(
    module: Module,
    example_inputs: Inputs,
    *,
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    patches: Sequence[Patch] = (),
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Report: ...


@overload
def estimate(
    module: Mapping[str, Entry | tuple[Module, Inputs]],
    example_inputs: None = None,
    *,
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    patches: Sequence[Patch] = (),
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> dict[str, Report]: ...


def estimate(
    module: Module | Mapping[str, Entry | tuple[Module, Inputs]],
    example_inputs: Inputs | None = None,
    *,
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    patches: Sequence[Patch] = (),
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Report | dict[str, Report]:
    """What a module, or each of several entry points, costs on a target; nothing is computed.

    The cycles are those of `girih.compile` and ``program.simulate``: time depends on shapes and
    not on values. Parameters are not looked at, and those on the meta device never get memory, so
    that models of any size can be estimated.

        with torch.device("meta"):
            model = LlamaForCausalLM(config)
        report = girih.estimate(model, (tokens,), target="cloud")

    Args:
        module: as for `girih.compile`, on the meta device or on any other.
        example_inputs: tensors of the shapes in question. Those on the meta device have no values;
            give real ones for what the model decides by (token numbers, masks, grids).
        target: as for `girih.compile`, like all that follow.
        recipe: ``w8a8``, ``float``, a YAML file, or a `Recipe`.
        patches: work-arounds for model classes beside the known ones.
        dump_ir: a folder for the IR after every pass.
        progress: called with the name of each stage.

    Returns the report; of several entry points, one by name.

    Raises `GirihError` where the model, the target or the recipe can not be used.
    """
    entries = entries_of(module, example_inputs)
    reports = _estimate(
        entries, Target.load(target), Recipe.load(recipe), patches, Dump.into(dump_ir), progress
    )
    return reports if isinstance(module, Mapping) else reports["main"]


def _estimate(
    entries: Mapping[str, Entry],
    target: Target,
    recipe: Recipe,
    patches: Sequence[Patch],
    dump: Dump,
    progress: Callable[[str], None],
) -> dict[str, Report]:
    modules = [entry.module for entry in entries.values() if isinstance(entry.module, nn.Module)]
    with create_context(), ir.Location.unknown(), hollowed(modules):
        shapes = {
            name: Entry(entry.module, with_hollow_inputs(entry.inputs), entry.reads, entry.writes)
            for name, entry in entries.items()
        }
        graph, parameters = import_entries(shapes, patches, progress, values=False)
        compilation = Compilation(parameters, target)
        dump(graph, "import")
        run_passes(graph, graph_passes(recipe, values=False), compilation, dump, progress)
        if target.devices is None or target.devices.count == 1:
            return time_graph(graph, list(entries), compilation, dump, progress)
        if not recipe.quantized:
            raise CompilationError(
                f"recipe {recipe.name!r} leaves nothing for the accelerators to share"
            )
        return time_parallel(graph, list(entries), compilation, dump, progress)
