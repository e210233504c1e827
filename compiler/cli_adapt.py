"""`girih adapt`: what names a model and its examples on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.adaptation.episodes import Episodes
from girih.compiler.cli_models import (
    WHISPER,
    call_named,
    load_model,
    names_function,
    read_calibration,
)
from girih.compiler.differentiable.graph import Call
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Recipe
from girih.runtime.errors import InputError
from girih.runtime.target import Target


def adapt_named(
    model: str, data: Sequence[str], progress: Callable[[str], None], **options: Any
) -> CompiledProgram:
    """Adapt the model that a word of the command line names to the examples that others name.

    Raises `GirihError`: no such model or examples, or options that can not be used.
    """
    # Cheap to refuse, and a model may take a minute to build.
    options["target"] = Target.load(options["target"])
    options["recipe"] = Recipe.load(options["recipe"])
    progress(f"load {model}")
    if model == WHISPER:
        from girih.compiler.models.speech import whisper_entries, whisper_episodes
        from girih.compiler.models.whisper import pretrained

        speech = pretrained()
        progress(f"listen to {len(data)} clips")
        episodes: Episodes = whisper_episodes(speech, data)
        return adapt(whisper_entries(speech), episodes=episodes, progress=progress, **options)
    module, inputs = load_model(model)
    names = list(cast(Mapping[str, Any], module)) if isinstance(module, Mapping) else ["main"]
    episodes = [episode for each in data for episode in _read(each, names)]
    return adapt(module, inputs, episodes=episodes, progress=progress, **options)


def _read(word: str, entries: Sequence[str]) -> Episodes:
    if not names_function(word):
        examples = read_calibration([Path(word)], entries, "data")
        return [
            (Call(entry, tuple(map(torch.from_numpy, arrays))),)
            for entry, every in examples.items()
            for arrays in every
        ]
    found = call_named(word)
    if not isinstance(found, list | tuple):
        raise InputError(f"{word} returned a {type(found).__name__}, expected a list of episodes")
    return cast(Episodes, found)
