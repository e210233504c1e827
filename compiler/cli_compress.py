"""`girih compress`: a model and its data by name, the search with a bar, the result as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from girih.compiler.cli_data import load_with_episodes
from girih.compiler.compression.compress import compress
from girih.compiler.compression.measure import Metric
from girih.compiler.compression.moves import PRUNING, Kind
from girih.runtime.errors import InputError


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

        module, inputs, episodes = load_with_episodes(
            model, data, lambda stage: progress(stage, 0, 1)
        )
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


def _budget(text: str) -> dict[str, float]:
    what, equals, limit = text.partition("=")
    try:
        return {what: float(limit)}
    except ValueError:
        raise InputError(
            f"--budget {text}: expected one of bytes, cycles, energy, agreement or loss and a "
            f"number, such as bytes=0.3{'' if equals else ' (no = found)'}"
        ) from None
