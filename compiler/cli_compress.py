"""`girih compress`: a model and its data by name, the search with a bar, the result as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from girih.compiler.cli_models import load_model, read_calibration, whisper_named
from girih.compiler.compression.compress import compress
from girih.compiler.compression.measure import Metric
from girih.compiler.compression.moves import PRUNING, Kind
from girih.compiler.episodes import Call, Episode
from girih.runtime.errors import CompilationError, InputError


def compress_named(
    model: str,
    data: Sequence[str],
    budget: str,
    folder: Path,
    *,
    target: str,
    metric: str,
    prune: Sequence[str],
    points: int,
    trials: int,
    processes: int,
) -> None:
    """Search for the model that a word of the command line names; show and write what is found."""
    limits = _budget(budget)
    for kind in prune:
        if kind not in PRUNING:
            raise InputError(f"--prune {kind}: expected {', '.join(PRUNING)}")
    if metric not in get_args(Metric):
        raise InputError(f"--metric {metric}: expected {' or '.join(get_args(Metric))}")
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("load", total=None)

        def progress(title: str, done: int, count: int) -> None:
            bar.update(task, description=title, completed=done, total=count)

        module, inputs, episodes = load_with_episodes(model, data)
        found = compress(
            module,
            inputs,
            episodes=episodes,
            budget=limits,
            folder=folder,
            target=target,
            metric=cast(Metric, metric),
            pruning=[cast(Kind, kind) for kind in prune],
            points=points,
            trials=trials,
            processes=processes,
            progress=progress,
        )
    shown = Console()
    shown.print(found.tier_table())
    shown.print(found.table())
    console.print(
        f"wrote {folder}/recipe.yaml, compression.json and compression.html",
        highlight=False,
        soft_wrap=True,
    )


def load_with_episodes(model: str, data: Sequence[str]) -> tuple[Any, Any, list[Episode]]:
    """(module or entries, example inputs, episodes) of a model and data by name.

    data: audio clips for a Whisper; for others .npz files, each example of which is an episode of
    one call, or ``file.py:function`` that returns episodes. Raises `GirihError` where one is none.
    """
    if not data:
        raise InputError("what a recipe costs is measured on data: give --data")
    checkpoint = whisper_named(model)
    if checkpoint is not None:
        from girih.compiler.models.speech import whisper_entries, whisper_episodes
        from girih.compiler.models.whisper import pretrained

        whisper = pretrained(checkpoint)
        return whisper_entries(whisper), None, whisper_episodes(whisper, data, checkpoint)
    module, inputs = load_model(model)
    names = list(cast(Mapping[str, Any], module)) if isinstance(module, Mapping) else ["main"]
    episodes: list[Episode] = []
    for word in data:
        if word.endswith(".npz"):
            episodes += _examples(Path(word), names)
        else:
            episodes += _called(word)
    return module, inputs, episodes


def _examples(path: Path, names: Sequence[str]) -> list[Episode]:
    examples = read_calibration([path], names)
    return [
        (Call(name, tuple(torch.from_numpy(array) for array in example)),)
        for name, own in examples.items()
        for example in own
    ]


def _called(word: str) -> list[Episode]:
    found, _ = load_model(word, many=True)
    every: list[Any] = found
    if not all(
        isinstance(episode, list | tuple)
        and all(isinstance(call, Call) for call in cast(Sequence[Any], episode))
        for episode in every
    ):
        raise CompilationError(f"{word} returned no episodes: expected sequences of girih.Call")
    return [tuple(episode) for episode in found]


def _budget(text: str) -> dict[str, float]:
    what, equals, limit = text.partition("=")
    try:
        return {what: float(limit)}
    except ValueError:
        raise InputError(
            f"--budget {text}: expected one of bytes, cycles, energy, agreement or loss and a "
            f"number, such as bytes=0.3{'' if equals else ' (no = found)'}"
        ) from None
