"""Models together with the data that they are measured or trained on, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from girih.compiler.cli_models import (
    call_named,
    load_model,
    names_function,
    read_calibration,
    whisper_named,
)
from girih.compiler.episodes import Call, Episode
from girih.runtime.errors import InputError


def load_with_episodes(
    model: str, data: Sequence[str], progress: Callable[[str], None]
) -> tuple[Any, Any, list[Episode]]:
    """(module or entries, example inputs, episodes) of a model and data by name.

    data: audio clips for a Whisper; for others .npz files, each example of which is an episode of
    one call, or ``file.py:function`` that returns episodes. Raises `GirihError` where one is none.
    """
    if not data:
        raise InputError("no data is given: --data")
    progress(f"load {model}")
    checkpoint = whisper_named(model)
    if checkpoint is not None:
        from girih.compiler.models.speech import whisper_entries, whisper_episodes
        from girih.compiler.models.whisper import pretrained

        speech = pretrained(checkpoint)
        progress(f"listen to {len(data)} clips")
        return whisper_entries(speech), None, whisper_episodes(speech, data, checkpoint)
    module, inputs = load_model(model)
    names = list(cast(Mapping[str, Any], module)) if isinstance(module, Mapping) else ["main"]
    return module, inputs, [episode for word in data for episode in _read(word, names)]


def _read(word: str, entries: Sequence[str]) -> list[Episode]:
    if not names_function(word):
        examples = read_calibration([Path(word)], entries, "data")
        return [
            (Call(entry, tuple(map(torch.from_numpy, arrays))),)
            for entry, every in examples.items()
            for arrays in every
        ]
    found = call_named(word)
    try:
        episodes = [tuple(episode) for episode in found]
    except TypeError:
        episodes = []
    if not episodes or not all(isinstance(call, Call) for each in episodes for call in each):
        raise InputError(f"{word} returned no episodes: expected sequences of girih.Call")
    return episodes
