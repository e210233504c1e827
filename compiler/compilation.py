"""`girih.compile`: from PyTorch modules to a program that two devices run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.codegen import generate
from girih.compiler.context import create_context
from girih.compiler.episodes import Call, Episode
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
from girih.compiler.precision import widened
from girih.compiler.program import MAPPING, CompiledProgram
from girih.compiler.recipe import Recipe
from girih.compiler.recipe_table import RECIPE_TABLE
from girih.compiler.resolution import recipe_table
from girih.compiler.schedule import describe_entry
from girih.compiler.strict import refuse_fallback
from girih.passes.base import Compilation
from girih.passes.partition import HOST, NPU, Partition
from girih.passes.states import STATE
from girih.passes.tiling.mapping import read, to_yaml
from girih.runtime.errors import CompilationError
from girih.runtime.executable import Executable
from girih.runtime.target import Target

Module = torch.nn.Module | ExportedProgram
Inputs = Sequence[Tensor] | Mapping[str, Any]


class ExportWarning(UserWarning):
    """The exported program does not compute what the module computes."""


class DecisionWarning(UserWarning):
    """The program is for inputs that have the examples' values where the module reads them."""


Example = Sequence[Any] | Mapping[str, Any]
Calibration = Sequence[Example] | Mapping[str, Sequence[Example]] | Sequence[Episode]


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


def _fixed(name: str, lines: Sequence[str]) -> str:
    more = f" and {len(lines) - 3} more lines" if len(lines) > 3 else ""
    return (
        f"entry {name!r}: the model reads values of its inputs at {', '.join(lines[:3])}{more}; "
        "the program holds for inputs with the values of the example there (sizes of images, "
        "padding)"
    )


def set_calibration(
    compilation: Compilation, entries: Mapping[str, Entry], calibration: Calibration | None
) -> None:
    """Give the `calibrate` pass its inputs; raises `CompilationError` for those that do not fit.

    An entry of which there is none runs on its example inputs.
    """
    episodes = _episodes(calibration)
    if episodes is None:
        compilation.calibration = _examples(entries, cast(Any, calibration))
        return
    called = {call.entry for episode in episodes for call in episode}
    unknown = called - set(entries)
    if unknown:
        raise CompilationError(
            f"calibration calls {', '.join(sorted(unknown))}, expected {', '.join(entries)}"
        )
    compilation.episodes = [
        [(call.entry, _inputs(call, entries[call.entry])) for call in episode]
        for episode in episodes
    ]
    others = {name: entry for name, entry in entries.items() if name not in called}
    compilation.calibration = _examples(others, {})


def _episodes(calibration: Calibration | None) -> list[Episode] | None:
    """The episodes that a calibration is, or None for one of inputs."""
    if calibration is None or isinstance(calibration, Mapping) or not calibration:
        return None
    first = calibration[0]
    if not isinstance(first, Sequence) or not first or not isinstance(first[0], Call):
        return None
    return [tuple(cast(Episode, episode)) for episode in calibration]


def _inputs(call: Call, entry: Entry) -> list[NDArray[Any]]:
    expected = [
        tuple(tensor.shape)
        for index, tensor in enumerate(entry.tensors)
        if index not in entry.reads
    ]
    found = [tuple(tensor.shape) for tensor in call.inputs]
    if found != expected:
        raise CompilationError(
            f"a call of entry {call.entry!r} has inputs of shapes {found}, expected {expected}"
        )
    return [widened(tensor).detach().numpy() for tensor in call.inputs]


def _examples(
    entries: Mapping[str, Entry],
    calibration: Sequence[Example] | Mapping[str, Sequence[Example]] | None,
) -> dict[str, list[list[NDArray[Any]]]]:
    """The inputs to calibrate each entry with, checked."""
    if calibration is None:
        calibration = {}
    if not isinstance(calibration, Mapping):
        if len(entries) != 1:
            raise CompilationError("with several entries, calibration is a mapping by entry")
        calibration = {next(iter(entries)): calibration}
    unknown = set(calibration) - set(entries)
    if unknown:
        raise CompilationError(
            f"calibration names {', '.join(sorted(unknown))}, expected {', '.join(entries)}"
        )
    examples: dict[str, list[list[NDArray[Any]]]] = {}
    for name, entry in entries.items():
        tuples = calibration.get(name) or [entry.tensors]
        examples[name] = [_example(name, entry, values) for values in tuples]
    return examples


def _example(
    name: str, entry: Entry, values: Sequence[Any] | Mapping[str, Any]
) -> list[NDArray[Any]]:
    if isinstance(values, Tensor | np.ndarray):
        values = (values,)
    elif isinstance(values, Mapping) and isinstance(entry.inputs, Mapping):
        values = [values[key] for key, v in entry.inputs.items() if isinstance(v, Tensor)]
    arrays = [
        widened(value).detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        for value in values
    ]
    found = [tuple(array.shape) for array in arrays]
    expected = [tuple(value.shape) for value in entry.tensors]
    if found != expected:
        raise CompilationError(
            f"calibration of entry {name!r} has shapes {found}, expected {expected}"
        )
    return arrays


def _functions(module: ir.Module) -> list[func.FuncOp]:
    return [op for op in module.body.operations if isinstance(op, func.FuncOp)]


def _mark_states(module: ir.Module, name: str, entry: Entry) -> None:
    function = next(f for f in _functions(module) if f.name.value == name)
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
    for function in _functions(copy):
        if mark not in function.attributes:
            function.operation.erase()
    return copy


def _append(module: ir.Module, others: ir.Module) -> None:
    for function in _functions(others):
        module.body.append(function.operation.clone())


def used_parameters(
    graph: ir.Module, parameters: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The arrays that the functions of a module mention."""
    names = {
        op.operation.attributes["parameter"].value
        for function in _functions(graph)
        for op in function.entry_block.operations
        if op.operation.name == "mfm.parameter"
    }
    return {name: parameters[name] for name in sorted(names)}
