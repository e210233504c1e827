"""`girih.compile_generator`: a multimodal model as tower, prefill and decode around one cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from girih.compiler.artifact import load, save
from girih.compiler.compilation import compile
from girih.compiler.estimation import estimate
from girih.compiler.export_errors import explain_generation
from girih.compiler.generation.decoder_only import DecoderOnly
from girih.compiler.generation.encoder_decoder import EncoderDecoder
from girih.compiler.hollow import HollowMode, hollowed, with_hollow_inputs
from girih.compiler.patches import Patch
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Recipe
from girih.runtime.errors import ArtifactError, CompilationError, GirihError
from girih.runtime.execution import Session
from girih.runtime.prompting import Generation, PromptPlan, Sampling
from girih.runtime.report import Report
from girih.runtime.target import Target

_PLAN = "prompt_plan"


class Generator:
    """A compiled model that continues prompts.

    `program` holds the entry points: ``tower`` where the model has one, ``prefill_N`` for each
    prefill length, ``decode``. The cache is a state: it stays on the device between calls.
    """

    def __init__(self, program: CompiledProgram, plan: PromptPlan) -> None:
        self.program = program
        self.plan = plan

    def stream(
        self,
        prompt: Mapping[str, Any],
        max_new_tokens: int = 20,
        *,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
        end: Sequence[int] | None = None,
        device: str = "iree",
        session: Session | None = None,
    ) -> Iterator[int]:
        """Yield new tokens as they come.

        Args:
            prompt: what the processor gives for one prompt: token numbers (1, n), pixels, ...
            max_new_tokens: most tokens to yield.
            temperature: 0 is greedy; larger is more varied.
            top_k: how many of the likeliest tokens are considered; 0 for all.
            seed: of the choices, where the temperature is not 0.
            end: tokens after which to stop; the model's own where None.
            device: ``iree`` or ``npu``.
            session: a session of the program, whose reports are then yours to read.

        Raises `InputError` for a prompt that the program cannot take.
        """
        generation = Generation(session or self.program.session(device), self.plan)
        sampling = Sampling(temperature, top_k, seed)
        stop = self.plan.end if end is None else tuple(end)
        return generation.stream(prompt, max_new_tokens, sampling, stop)

    def save(self, path: str | Path) -> None:
        """Write an artifact that `load_generator` reads, whole or not at all."""
        executable = self.program.executable
        metadata = {**executable.metadata, _PLAN: self.plan.to_dict()}
        save(replace(executable, metadata=metadata), path)

    def generate(
        self, prompt: Mapping[str, Any], max_new_tokens: int = 20, **how: Any
    ) -> list[int]:
        """The new tokens as a list; see `stream`."""
        return list(self.stream(prompt, max_new_tokens, **how))


def load_generator(path: str | Path) -> Generator:
    """The generator of an artifact. Raises `ArtifactError` where the file holds none."""
    program = load(path)
    if _PLAN not in program.executable.metadata:
        raise ArtifactError(f"artifact {path}: holds a program, but no generator: use girih.load")
    plan = TypeAdapter(PromptPlan).validate_python(program.executable.metadata[_PLAN])
    return Generator(program, plan)


def compile_generator(
    model: nn.Module,
    prompt: Mapping[str, Any],
    *,
    cache_length: int = 128,
    prefill_lengths: Sequence[int] = (),
    calibration: Sequence[Mapping[str, Any]] = (),
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    patches: Sequence[Patch] = (),
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Generator:
    """Compile a Hugging Face model that generates text, decoder-only or encoder-decoder.

    Args:
        model: a model with a language-model head; its own code is not changed.
        prompt: an example as the processor gives it, batch 1: ``input_ids`` (1, n) with
            ``pixel_values``, ``image_grid_thw``, ..., or ``input_features`` of an encoder. Sizes
            of images and audio are those of the example.
        cache_length: most tokens, prompt included.
        prefill_lengths: lengths to compile the prefill for; prompts are padded to the next one.
            Without any, the example's length.
        calibration: prompts from which ranges are taken when quantizing; the example if none.
        target: as for `girih.compile`, like all that follow.
        recipe: ``w8a8``, ``float``, a YAML file, or a `Recipe`.
        patches: work-arounds for model classes beside the known ones.
        dump_ir: a folder for the IR after every pass.
        progress: called with the name of each stage.

    Raises `GirihError` where the model or the prompt can not be used.
    """
    try:
        parts = _parts(model, prompt, cache_length, prefill_lengths)
        examples = parts.calibration([prompt, *calibration])
    except GirihError:
        raise
    except Exception as error:
        raise CompilationError(explain_generation(error, model)) from error
    program = compile(
        parts.entries,
        calibration=examples,
        target=target,
        recipe=recipe,
        patches=patches,
        dump_ir=dump_ir,
        progress=progress,
    )
    return Generator(program, parts.plan)


def estimate_generator(
    model: nn.Module,
    prompt: Mapping[str, Any],
    *,
    cache_length: int = 128,
    prefill_lengths: Sequence[int] = (),
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    patches: Sequence[Patch] = (),
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> dict[str, Report]:
    """What each entry point of a generator costs, by name; see `girih.estimate`.

    Args:
        model: as for `compile_generator`; best on the meta device.
        prompt: as for `compile_generator`. Token numbers, masks and grids need values; pixels and
            audio may be on the meta device.
        cache_length: tokens that a decode step attends to.
        prefill_lengths: as for `compile_generator`, like all that follow.
        target: preset, YAML file, or `Target`.
        recipe: ``w8a8``, ``float``, a YAML file, or a `Recipe`.
        patches: work-arounds for model classes beside the known ones.
        dump_ir: a folder for the IR after every pass.
        progress: called with the name of each stage.

    Raises `GirihError` where the model or the prompt can not be used.
    """
    with hollowed([model]):
        with HollowMode():
            parts = _parts(model, with_hollow_inputs(dict(prompt)), cache_length, prefill_lengths)
        return estimate(
            parts.entries,
            target=target,
            recipe=recipe,
            patches=patches,
            dump_ir=dump_ir,
            progress=progress,
        )


def _parts(
    model: nn.Module,
    prompt: Mapping[str, Any],
    cache_length: int,
    prefill_lengths: Sequence[int],
) -> DecoderOnly | EncoderDecoder:
    build = EncoderDecoder if model.config.is_encoder_decoder else DecoderOnly  # type: ignore[union-attr]
    return build(model.eval(), prompt, cache_length, tuple(sorted(prefill_lengths)))
