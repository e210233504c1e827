"""`girih.adapt`: a compiled program whose weights were trained at its own integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor
from torch_mlir import ir

from girih.compiler.adaptation.adapters import Adapters
from girih.compiler.adaptation.checkpoint import Checkpoint, digest
from girih.compiler.adaptation.episodes import checked
from girih.compiler.adaptation.integers import IntegerGraph
from girih.compiler.adaptation.settings import Settings
from girih.compiler.adaptation.student import Student
from girih.compiler.adaptation.targets import trained_weights
from girih.compiler.adaptation.teacher import Teacher
from girih.compiler.adaptation.training import Trainer
from girih.compiler.calibration import Calibration, set_calibration
from girih.compiler.compilation import finish, import_entries, refuse_several, used_parameters
from girih.compiler.context import create_context
from girih.compiler.differentiable.graph import TorchGraph
from girih.compiler.entries import Entry, Inputs, Module, entries_of
from girih.compiler.episodes import Call, Episode
from girih.compiler.patches import Patch
from girih.compiler.pipeline import (
    Dump,
    copy_module,
    float_passes,
    integer_passes,
    run_passes,
    shaping_passes,
)
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Recipe
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.differentiable.function import Weights
from girih.runtime.errors import CompilationError, InputError
from girih.runtime.target import Target

Array = NDArray[Any]

_OBSERVED = 6
"""Episodes that ranges come from where no calibration is given."""


def adapt(
    module: Module | Mapping[str, Entry | tuple[Module, Inputs]],
    example_inputs: Inputs | None = None,
    *,
    episodes: Sequence[Sequence[Call]],
    folder: str | Path,
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    calibration: Calibration | None = None,
    patches: Sequence[Patch] = (),
    steps: int = 100,
    float_steps: int = 0,
    batch: int = 4,
    rate: float = 1e-4,
    rank: int = 16,
    match: Sequence[str] = ("*",),
    tied: bool = False,
    loss: Literal["divergence", "error"] = "divergence",
    states: float = 1.0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> CompiledProgram:
    """Compile as `girih.compile` does, and train the weights so that the program answers better.

    The teacher is the module as it is, in float; what learns is the quantized program of the
    recipe, pruned where that prunes. Its weights change by products of low rank (LoRA, Hu et al.
    2022) until it says of the episodes what the teacher says (distillation, Hinton et al. 2015).
    Forward values are the integers that the program computes, bit for bit.

    Args:
        module: as for `girih.compile`.
        example_inputs: as for `girih.compile`.
        episodes: what to learn from: calls from empty states on.
        folder: for the checkpoint and `losses.json`. An adaptation that was stopped goes on there,
            to the same result.
        target: as for `girih.compile`.
        recipe: as for `girih.compile`; not ``float``.
        calibration: as for `girih.compile`; the first episodes where none is given.
        patches: as for `girih.compile`.
        steps: see `girih.compiler.adaptation.settings.Settings`, as for all that follow.
        float_steps: steps before those, in float.
        batch: episodes a step.
        rate: the highest learning rate.
        rank: of the change of each weight.
        match: paths of modules whose linear operations change.
        tied: whether a table that is a linear operation's weight too changes.
        loss: of results.
        states: weight of the states' error.
        seed: of everything random.
        progress: called with the name of each stage, and with the loss of each step.

    Raises:
        GirihError: what `girih.compile` raises, and episodes or settings that can not be used.
    """
    settings = Settings.of(
        {
            "steps": steps,
            "float_steps": float_steps,
            "batch": batch,
            "rate": rate,
            "rank": rank,
            "match": tuple(match),
            "tied": tied,
            "loss": loss,
            "states": states,
            "seed": seed,
        }
    )
    entries = entries_of(module, example_inputs)
    target, recipe = Target.load(target), Recipe.load(recipe)
    refuse_several(target)
    if not recipe.quantized:
        raise CompilationError(
            f"recipe {recipe.name!r} leaves all numbers float: adaptation is for integers"
        )
    known = checked(entries, episodes)
    place = _place(folder)
    context = create_context()
    with context, ir.Location.unknown():
        graph, parameters = import_entries(entries, patches, progress)
        imported = dict(parameters)
        compilation = Compilation(parameters, target)
        set_calibration(compilation, entries, calibration or known[:_OBSERVED])
        run = digest(settings, recipe, imported, _arrays(known, compilation))
        checkpoint, in_float = Checkpoint(place, run), Checkpoint(place / "float", run)
        for each in (checkpoint, in_float):
            each.read()  # another adaptation's is refused before any work
        run_passes(graph, float_passes(), compilation, progress=progress)
        teacher = Teacher(TorchGraph(copy_module(graph)), _tensors(graph, compilation.parameters))
        run_passes(graph, shaping_passes(recipe), compilation, progress=progress)
        if settings.float_steps:
            compilation.parameters |= _train_in_float(
                graph, compilation, teacher, known, settings, in_float, progress
            )
            # Ranges are those of the weights that the integers start from.
            again = Calibrate(correlations=recipe.compensates)
            run_passes(graph, [again], compilation, progress=progress)
        if settings.steps:
            compilation.parameters |= _train(
                graph, compilation, recipe, teacher, known, settings, checkpoint, progress
            )
        run_passes(graph, integer_passes(recipe), compilation, progress=progress)
        return finish(graph, list(entries), compilation, recipe, imported, Dump(), progress)


def _train_in_float(
    graph: ir.Module,
    compilation: Compilation,
    teacher: Teacher,
    episodes: Sequence[Episode],
    settings: Settings,
    checkpoint: Checkpoint,
    progress: Callable[[str], None],
) -> dict[str, Array]:
    """Trained weights by name, of the graph as it is in float."""
    adapters = Adapters(trained_weights(graph, settings), compilation.parameters, settings)
    trainer = Trainer(
        student=TorchGraph(copy_module(graph)).follow,
        teacher=teacher,
        parameters=_tensors(graph, compilation.parameters),
        requantize=lambda weights: None,
        episodes=episodes,
        settings=settings,
        first=0,
        steps=settings.float_steps,
    )
    trainer.run(adapters, checkpoint, lambda stage: progress(f"in float, {stage}"))
    return adapters.merged()


def _train(
    graph: ir.Module,
    compilation: Compilation,
    recipe: Recipe,
    teacher: Teacher,
    episodes: Sequence[Episode],
    settings: Settings,
    checkpoint: Checkpoint,
    progress: Callable[[str], None],
) -> dict[str, Array]:
    """Trained weights by name, for a graph that is float still and calibrated."""
    # Ranges and factors come from the weights as they were, wherever training goes on.
    first = replace(compilation, parameters=dict(compilation.parameters))
    run_passes(copy_module(graph), integer_passes(recipe, notes=True), first)
    floats = TorchGraph(copy_module(graph))
    integers = IntegerGraph()
    adapters = Adapters(trained_weights(graph, settings), compilation.parameters, settings)
    trainer = Trainer(
        student=Student(floats, integers, compilation.units).run,
        teacher=teacher,
        parameters=_tensors(graph, compilation.parameters),
        requantize=Requantizer(graph, compilation, recipe, integers),
        episodes=episodes,
        settings=settings,
        first=settings.float_steps,
        steps=settings.steps,
    )
    trainer.run(adapters, checkpoint, progress)
    return adapters.merged()


@dataclass(frozen=True)
class Requantizer:
    """Makes integers of changed weights, at the ranges and factors of the first ones."""

    graph: ir.Module
    compilation: Compilation
    recipe: Recipe
    integers: IntegerGraph

    def __call__(self, weights: Mapping[str, Array]) -> None:
        """Let the integer graph compute with these weights, and what the others were."""
        module = copy_module(self.graph)
        parameters = {**self.compilation.parameters, **weights}
        changed = replace(self.compilation, parameters=parameters)
        run_passes(module, integer_passes(self.recipe, notes=True), changed)
        self.integers.load(module, used_parameters(module, parameters))


def _tensors(graph: ir.Module, parameters: Mapping[str, Array]) -> dict[str, Tensor]:
    return dict(Weights(used_parameters(graph, parameters)))


def _arrays(
    episodes: Sequence[Episode], compilation: Compilation
) -> Iterator[tuple[str, Sequence[Array]]]:
    """All that is learnt from or observed, with the names that belong to it."""
    for episode in episodes:
        yield f"{len(episode)} calls", ()
        for call in episode:
            yield call.entry, [each.numpy() for each in call.inputs]
    for observed in compilation.episodes:
        yield f"{len(observed)} calls", ()
        yield from observed
    for name, examples in compilation.calibration.items():
        yield from ((name, arrays) for arrays in examples)


def _place(folder: str | Path) -> Path:
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder")
    if not place.absolute().parent.is_dir():
        raise InputError(f"{folder}: no folder {place.parent}")
    return place
