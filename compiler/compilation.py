"""`girih.compile`: from PyTorch modules to a program that two devices run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch_mlir import ir

from girih.compiler.calibration import Calibration, set_calibration
from girih.compiler.codegen import generate
from girih.compiler.context import create_context
from girih.compiler.entries import Entry, Inputs, Module, entries_of
from girih.compiler.exporting import export
from girih.compiler.importing import Importer
from girih.compiler.iree import compile_to_vmfb, host_cpu
from girih.compiler.patches import Patch, known_patches
from girih.compiler.pipeline import (
    Dump,
    accelerator_passes,
    copy_module,
    graph_passes,
    host_passes,
    run_passes,
    to_bytecode,
)
from girih.compiler.program import MAPPING, CompiledProgram
from girih.compiler.recipe import Recipe
from girih.compiler.recipe_table import RECIPE_TABLE
from girih.compiler.resolution import recipe_table
from girih.compiler.schedule import describe_entry
from girih.compiler.strict import refuse_fallback
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.partition import HOST, NPU, Partition
from girih.passes.states import STATE
from girih.passes.tiling.mapping import read, to_yaml
from girih.runtime.errors import CompilationError
from girih.runtime.executable import Executable
from girih.runtime.target import Target


class ExportWarning(UserWarning):
    """The exported program does not compute what the module computes."""


class DecisionWarning(UserWarning):
    """The program is for inputs that have the examples' values where the module reads them."""


def compile(
    module: Module | Mapping[str, Entry | tuple[Module, Inputs]],
    example_inputs: Inputs | None = None,
    *,
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    calibration: Calibration | None = None,
    patches: Sequence[Patch] = (),
    mapping: str | Path | None = None,
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    strict: bool = False,
) -> CompiledProgram:
    """Compile a module, or several entry points that share weights, for the host and a target.

    Args:
        module: a module (with `example_inputs`), or a mapping from entry names to ``(module,
            inputs)`` or `Entry`. One module becomes the entry ``main``.
        example_inputs: tensors whose shapes and dtypes the program will have, by position or by
            name (``dict(processor(...))``).
        target: a preset's name, a YAML file, or a `Target`.
        recipe: ``w8a8``, ``float``, a YAML file, or a `Recipe`.
        calibration: input tuples, by entry where there are several, from which ranges are taken;
            or episodes, whose calls pass states on (`girih.Call`); the example inputs where none
            are given.
        patches: work-arounds for model classes that torch.export cannot trace, beside the known
            ones (`girih.Patch`).
        mapping: a file of tiles (`CompiledProgram.mapping` of this or another program) for the
            regions that it names; the others are searched for.
        dump_ir: a folder for the IR after every pass.
        progress: called with the name of each stage.
        strict: refuse a model of which an operation falls back to the host (float recipe: of
            which one has no mfm form); without, the report lists them.

    Raises:
        GirihError: the module, the target, the recipe or an example can not be used; nothing is
            left half-done.
    """
    entries = entries_of(module, example_inputs)
    target, recipe = Target.load(target), Recipe.load(recipe)
    if mapping is not None:
        read(Path(mapping))
    refuse_several(target)
    context = create_context()
    with context, ir.Location.unknown():
        graph, parameters = import_entries(entries, patches, progress)
        imported = dict(parameters)
        compilation = Compilation(parameters, target)
        set_calibration(compilation, entries, calibration)
        compilation.mapping = None if mapping is None else Path(mapping)
        dump = Dump.into(dump_ir)
        dump(graph, "import")
        run_passes(graph, graph_passes(recipe), compilation, dump, progress)

        return finish(graph, list(entries), compilation, recipe, imported, dump, progress, strict)


def refuse_several(target: Target) -> None:
    """Raise `CompilationError` for a target of several devices, which has no programs."""
    if target.devices is not None and target.devices.count > 1:
        raise CompilationError(
            f"target {target.name!r} has {target.devices.count} devices: several are timed and not "
            "run, by girih.estimate"
        )


def finish(
    graph: ir.Module,
    names: Sequence[str],
    compilation: Compilation,
    recipe: Recipe,
    imported: Mapping[str, NDArray[Any]],
    dump: Dump,
    progress: Callable[[str], None],
    strict: bool = False,
) -> CompiledProgram:
    """From what `graph_passes` leave to a program.

    `names` are the entries, in order; `imported` the weights as they were, which the table of the
    resolved recipe compares with.
    """
    target = compilation.target
    assert target is not None
    parts = copy_module(graph)
    run_passes(parts, [Partition()], compilation, dump, progress)
    described = {name: describe_entry(graph, parts, name) for name in names}
    if strict:
        refuse_fallback(described, recipe.quantized)
    accelerator = only(parts, NPU)
    run_passes(accelerator, accelerator_passes(), compilation, dump, progress)
    kernels, dram_bytes = generate(accelerator, target)

    host = copy_module(graph)
    _append(host, only(parts, HOST))
    run_passes(host, host_passes(), compilation, dump, progress)
    progress("iree-compile")
    vmfb = compile_to_vmfb(host)

    stored = used_parameters(graph, compilation.parameters)
    executable = Executable(
        entries=described,
        parameters=stored,
        vmfb=vmfb,
        module=to_bytecode(graph),
        recipe=recipe.name,
        target=target,
        kernels=kernels,
        dram_bytes=dram_bytes,
        processor=host_cpu()[0],
        metadata={
            MAPPING: to_yaml(target.name, compilation.chosen),
            RECIPE_TABLE: recipe_table(graph, recipe, imported, stored).to_dict(),
        },
    )
    return CompiledProgram(executable)


def import_entries(
    entries: Mapping[str, Entry],
    patches: Sequence[Patch],
    progress: Callable[[str], None],
    values: bool = True,
) -> tuple[ir.Module, dict[str, NDArray[Any]]]:
    """Every entry as a function of one module in the torch dialect, and the weights by name.

    Without `values`, weights are hollow. Raises `ImportingError` for what cannot be imported.
    """
    patches = (*patches, *known_patches())
    graph = ir.Module.create()
    importer = Importer(graph)
    for name, entry in entries.items():
        progress(f"import {name}")
        exported = export(entry.module, entry.inputs, patches, values)
        for note in exported.notes:
            warnings.warn(f"entry {name!r}: {note}", ExportWarning, stacklevel=3)
        if exported.decisions:
            warnings.warn(_fixed(name, exported.decisions), DecisionWarning, stacklevel=3)
        importer.import_entry(name, exported.program)
        _mark_states(graph, name, entry)
    return graph, importer.parameters


def _fixed(name: str, lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 3} more lines" if len(lines) > 3 else ""
    return (
        f"entry {name!r}: the model reads values of its inputs at {', '.join(lines[:3])}{more}; "
        "the program holds for inputs with the values of the example there (sizes of images, "
        "padding)"
    )


def _mark_states(module: ir.Module, name: str, entry: Entry) -> None:
    function = next(f for f in functions_of(module) if f.name.value == name)
    counts = len(function.type.inputs), len(function.type.results)
    for side, states, count in zip(
        ("arg_attrs", "res_attrs"), (entry.reads, entry.writes), counts, strict=True
    ):
        beyond = [index for index in states if not 0 <= index < count]
        if beyond:
            raise CompilationError(
                f"entry {name!r} has {count} {'arguments' if side == 'arg_attrs' else 'results'}, "
                f"but number {beyond[0]} is named a state"
            )
        function.attributes[side] = ir.ArrayAttr.get(
            [
                ir.DictAttr.get(
                    {STATE: ir.StringAttr.get(states[index])} if index in states else {}
                )
                for index in range(count)
            ]
        )


def only(module: ir.Module, mark: str) -> ir.Module:
    """A copy of the module with the functions of one mark alone."""
    copy = copy_module(module)
    for function in functions_of(copy):
        if mark not in function.attributes:
            function.operation.erase()
    return copy


def _append(module: ir.Module, others: ir.Module) -> None:
    for function in functions_of(others):
        module.body.append(function.operation.clone())


def used_parameters(
    graph: ir.Module, parameters: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The arrays that the functions of a module mention."""
    names = {
        op.operation.attributes["parameter"].value
        for function in functions_of(graph)
        for op in function.entry_block.operations
        if op.operation.name == "mfm.parameter"
    }
    return {name: parameters[name] for name in sorted(names)}
