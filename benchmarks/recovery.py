"""What pruning costs Whisper in accuracy, and what half an hour of adaptation brings back.

    python benchmarks/recovery.py [--model base] [--steps 100] [--batch 4] [--clips 40]

A quarter of the MLPs' channels go from encoder and decoder, and one block of the encoder. Prints
simulated cycles of both entries, agreement with float32 on clips that nothing was trained on, and
what the programs hear in jfk.wav. Programs, adaptations that were stopped and results are kept in
build/agreement/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kept import compiler_digest, file_digest, place
from rich.console import Console
from rich.table import Table
from speech_data import synthesized
from speech_models import SHARED, Spoken, Whisper, logits_of, test_clips

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.artifact import load
from girih.compiler.estimation import estimate
from girih.compiler.models.speech import whisper_entries, whisper_episodes
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
RATE = 1e-3
RANK = 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Prune, adapt and measure; print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=list(CHECKPOINTS), default="base")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--clips", type=int, default=40, help="synthesized test clips")
    parser.add_argument("--heard", type=int, default=None, help="clips to learn from, all if none")
    options = parser.parse_args(arguments)
    console = Console()
    whisper = Whisper(CHECKPOINTS[options.model])
    console.print(_cycles(whisper))
    programs = {
        "w8a8": whisper.compiled("w8a8", console.print),
        "pruned": whisper.compiled(PRUNED, console.print),
        "pruned, adapted": _adapted(whisper, options, console),
    }
    console.print(_accuracy(whisper, programs, test_clips(options.clips)))


def _cycles(whisper: Whisper) -> Table:
    table = Table("recipe", "entry", "simulated cycles", "of w8a8")
    entries = whisper_entries(whisper.model)
    whole = estimate(entries, recipe="w8a8")
    pruned = estimate(entries, recipe=PRUNED)
    for name, reports in (("w8a8", whole), ("pruned", pruned)):
        for entry, report in reports.items():
            share = report.cycles / whole[entry].cycles
            table.add_row(name, entry, f"{report.cycles:,}", f"{share:.1%}")
    return table


def _adapted(whisper: Whisper, options: argparse.Namespace, console: Console) -> Path:
    """The artifact of an adaptation; one that was stopped goes on."""
    audio = [clip.path for clip in synthesized("calibration", options.heard)]
    heard = [file_digest(path) for path in audio]
    settings: dict[str, Any] = {
        "steps": options.steps,
        "batch": options.batch,
        "rate": RATE,
        "rank": RANK,
    }
    inputs = (whisper.weights, PRUNED, heard, settings, compiler_digest())
    path = place("adapted", ".girih", *inputs)
    if not path.exists():
        start = time.perf_counter()
        console.print(f"listen to {len(audio)} clips")
        program = adapt(
            whisper_entries(whisper.model),
            episodes=whisper_episodes(whisper.model, audio, whisper.checkpoint),
            folder=place("adaptations", "", *inputs),
            recipe=PRUNED,
            progress=lambda stage: console.print(stage, highlight=False),
            **settings,
        )
        program.save(path)
        console.print(f"adapted in {(time.perf_counter() - start) / 60:.1f} minutes")
    return path


def _accuracy(whisper: Whisper, programs: dict[str, Path], clips: Sequence[Spoken]) -> Table:
    table = Table("program", "clips", "tokens", "agree", "KL, nats", "WER", "float WER", "jfk.wav")
    for name, artifact in programs.items():
        score = whisper.score(file_digest(artifact), partial(logits_of, artifact), clips)
        table.add_row(
            name,
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
