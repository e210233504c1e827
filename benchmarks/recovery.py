"""What pruning or few bits cost Whisper in accuracy, and what adaptation brings back.

    python benchmarks/recovery.py [--model base] [--recipe pruned] [--steps 40] [--clips 40]

`pruned`: a quarter of the MLPs' channels go from encoder and decoder, and one block of the encoder,
in w8a8; `w8a8` and `w4a8` are the presets. Prints simulated cycles of both entries, agreement with
float32 on clips that nothing was trained on, and what the programs hear in jfk.wav. Programs,
adaptations that were stopped and results are kept in build/agreement/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kept import file_digest
from rich.console import Console
from rich.table import Table
from speech_models import SHARED, Spoken, Whisper, logits_of, test_clips

from girih.compiler.artifact import load
from girih.compiler.estimation import estimate
from girih.compiler.models.speech import whisper_entries
from girih.compiler.recipe import Pruning, Recipe
from girih.runtime.transcription import CHECKPOINTS, CompiledSpeech, Transcriber

PRUNED = Recipe(
    name="pruned",
    pruning=(
        Pruning(match="encoder.layers.*", blocks=1),
        Pruning(match="encoder.layers.*", hidden=0.25, multiple=32),
        Pruning(match="decoder.layers.*", hidden=0.25, multiple=32),
    ),
)
# Weights of 4 bits are rounded to the nearest each step: a search for better roundings after
# training would not be what was trained.
RECIPES: Mapping[str, Recipe] = {
    "pruned": PRUNED,
    "w8a8": Recipe.load("w8a8"),
    "w4a8": Recipe.load("w4a8").model_copy(update={"name": "w4a8-nearest", "rounding": "nearest"}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, adapt and measure; print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=list(CHECKPOINTS), default="base")
    parser.add_argument("--recipe", choices=list(RECIPES), default="pruned")
    parser.add_argument("--float-steps", type=int, default=0, help="steps in float before those")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--tied", action="store_true", help="the table of tokens is trained too")
    parser.add_argument("--clips", type=int, default=40, help="synthesized test clips")
    options = parser.parse_args(arguments)
    console = Console(width=140)
    whisper, recipe = Whisper(CHECKPOINTS[options.model]), RECIPES[options.recipe]
    console.print(_cycles(whisper, recipe))
    say = partial(console.print, highlight=False)
    names = ("float_steps", "steps", "batch", "rate", "rank", "tied")
    settings: dict[str, Any] = {name: getattr(options, name) for name in names}
    programs = {
        "w8a8": whisper.compiled("w8a8", say),
        options.recipe: whisper.compiled(recipe, say),
    }
    start = time.perf_counter()
    programs[f"{options.recipe}, adapted"] = whisper.adapted(recipe, settings, say)
    console.print(f"adapted, or found so, in {(time.perf_counter() - start) / 60:.1f} minutes")
    console.print(_accuracy(whisper, programs, test_clips(options.clips)))


def _cycles(whisper: Whisper, recipe: Recipe) -> Table:
    table = Table("recipe", "entry", "simulated cycles", "of w8a8")
    entries = whisper_entries(whisper.model)
    whole = estimate(entries, recipe="w8a8")
    for name, reports in (("w8a8", whole), (recipe.name, estimate(entries, recipe=recipe))):
        for entry, report in reports.items():
            share = report.cycles / whole[entry].cycles
            table.add_row(name, entry, f"{report.cycles:,}", f"{share:.1%}")
    return table


def _accuracy(whisper: Whisper, programs: dict[str, Path], clips: Sequence[Spoken]) -> Table:
    table = Table(
        "program", "MB", "clips", "tokens", "agree", "KL, nats", "WER", "float WER", "jfk.wav"
    )
    for name, artifact in programs.items():
        score = whisper.score(file_digest(artifact), partial(logits_of, artifact), clips)
        parameters = load(artifact).executable.parameters.values()
        table.add_row(
            name,
            f"{sum(array.nbytes for array in parameters) / 1e6:.2f}",
            str(score.clips),
            str(score.tokens),
            f"{score.agreement:.2%}",
            f"{score.divergence:.4f}",
            f"{score.word_error_rate:.2%}",
            f"{score.float_word_error_rate:.2%}",
            _heard(whisper, artifact, SHARED / "jfk.wav"),
        )
    return table


def _heard(whisper: Whisper, artifact: Path, audio: Path) -> str:
    if not audio.is_file():
        return "(not there)"
    model = CompiledSpeech(load(artifact).session("iree"))
    return Transcriber(model, whisper.checkpoint).transcribe(audio).text


if __name__ == "__main__":
    main()
