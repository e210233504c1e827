"""The search for recipes beside simpler choices of the same size, on speech it has not heard.

    python benchmarks/compression_search.py [--model tiny.en base] [--bytes 0.36] [--processes 2]

At each share of the float16 size: the recipe of `girih.compress`; one that orders moves by the
error of their weights alone (a proxy); one that takes nodes in the model's order (uniform
precision, as far as the size allows); and the presets. All are compiled, run on IREE on the test
split, and timed on the simulator. What was measured is kept in build/search/ and build/agreement/.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kept import file_digest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from speech_data import synthesized
from speech_models import Whisper, logits_of, test_clips

from girih.compiler.compression.compress import Ranking, compress
from girih.compiler.compression.result import Compression
from girih.compiler.models.speech import whisper_entries, whisper_episodes
from girih.compiler.recipe import Recipe
from girih.runtime.transcription import CHECKPOINTS

FOLDER = Path(__file__).parents[1] / "build" / "search"
_LONGEST = 64
"""Calls of an episode: a clip that sends float32 round in circles counts no more than others."""
RANKINGS: dict[str, tuple[Ranking, int]] = {
    "in the model's order": ("order", 0),
    "by weight error": ("weights", 0),
    "searched": ("task", 16),
}
"""What moves are ordered by, and how many exchanges are tried; a folder keeps what each finds."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, compile, measure; print a table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=list(CHECKPOINTS), default=["tiny.en"])
    parser.add_argument("--bytes", nargs="+", type=float, default=[0.36])
    parser.add_argument("--clips", type=int, default=12, help="clips that the search hears")
    parser.add_argument("--test-clips", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--no-test", action="store_true", help="search alone")
    options = parser.parse_args(arguments)
    console = Console(width=140)
    for name in options.model:
        whisper = Whisper(CHECKPOINTS[name])
        for share in options.bytes:
            found = {title: _search(whisper, share, title, options, console) for title in RANKINGS}
            console.print(_fronts(found["searched"]))
            if not options.no_test:
                console.print(_table(whisper, share, found, options, console))


def _search(
    whisper: Whisper, share: float, title: str, options: argparse.Namespace, console: Console
) -> Compression:
    ranking, trials = RANKINGS[title]
    audio = [clip.path for clip in synthesized("search", options.clips)]
    episodes = [
        episode[:_LONGEST] for episode in whisper_episodes(whisper.model, audio, whisper.checkpoint)
    ]
    folder = FOLDER / f"{whisper.checkpoint.name}_{share}"
    of_ranking = folder / ranking
    of_ranking.mkdir(parents=True, exist_ok=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title)
        found = compress(
            whisper_entries(whisper.model),
            episodes=episodes,
            budget={"bytes": share},
            # One folder: what is measured for one ranking is known to the others.
            folder=folder,
            trials=trials,
            ranking=ranking,
            processes=options.processes,
            progress=lambda stage, done, count: bar.update(
                task, description=f"{title}: {stage}", completed=done, total=count
            ),
        )
    found.save(of_ranking)
    return found


def _fronts(found: Compression) -> Table:
    """The front of the search: its energy falls with its bytes."""
    table = found.table()
    energies = [point.cost.energy_joules for point in found.front]
    falls = all(one >= other for one, other in zip(energies, energies[1:], strict=False))
    table.title = f"the front; energy {'falls' if falls else 'does NOT fall'} with the bytes"
    return table


def _table(
    whisper: Whisper,
    share: float,
    found: dict[str, Compression],
    options: argparse.Namespace,
    console: Console,
) -> Table:
    name = whisper.checkpoint.name
    table = Table(
        "recipe", "bytes", "of float16", "cycles", "mJ", "agree", "KL, nats", "WER",
        title=f"{name} at {share:.0%} of float16, test split",
    )  # fmt: skip
    any_found = next(iter(found.values()))
    points = [(title, each.chosen) for title, each in found.items()]
    points += [(point.recipe.name, point) for point in any_found.uniform]
    clips = test_clips(options.test_clips)
    for title, point in points:
        recipe: Recipe = point.recipe.model_copy(update={"name": title.replace(" ", "-")})
        artifact = whisper.compiled(
            recipe, lambda stage, title=title: console.print(f"{title}: {stage}", highlight=False)
        )
        score = whisper.score(file_digest(artifact), partial(logits_of, artifact), clips)
        table.add_row(
            title,
            f"{point.cost.bytes:,}",
            f"{point.cost.bytes / any_found.float16_bytes:.1%}",
            f"{point.cost.cycles:,.0f}",
            f"{point.cost.energy_joules * 1e3:.2f}",
            f"{score.agreement:.2%}",
            f"{score.divergence:.4f}",
            f"{score.word_error_rate:.2%}",
        )
    return table


if __name__ == "__main__":
    main()
