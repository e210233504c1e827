"""How often w8a8 Whisper says the next token that float32 says, given float32's tokens so far.

    python benchmarks/accuracy.py [AUDIO...]

Without arguments: the synthesized sentences of tests/data/speech, and ../shared/data/speech/*.wav
where present. Calibration hears other clips (examples/data/calibration).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from girih.compiler.models.speech import EagerSpeech, compile_whisper
from girih.runtime.audio import log_mel, read_audio, windows
from girih.runtime.generation import generate, teacher_forced
from girih.runtime.transcription import ENGLISH_RULES, CompiledSpeech

ROOT = Path(__file__).parents[1]


def main(arguments: list[str]) -> None:
    """Print the table."""
    clips = [Path(argument) for argument in arguments] or [
        *sorted((ROOT / "tests/data/speech").glob("*.wav")),
        *sorted((ROOT.parent / "shared/data/speech").glob("*.wav")),
    ]
    console = Console()
    eager = EagerSpeech()
    calibration = sorted((ROOT / "examples/data/calibration").glob("*.wav"))
    with console.status("compile") as status:
        program = compile_whisper(
            calibration_audio=calibration, model=eager.model, progress=status.update
        )
    compiled = CompiledSpeech(program.session("iree"))
    table = Table("clip", "tokens", "agree", "same transcript")
    agreed = said = 0
    for clip in track(clips, "transcribe", console=console):
        features = log_mel(windows(read_audio(clip))[0])
        eager.encode(features)
        tokens = generate(eager.decode, ENGLISH_RULES)
        compiled.encode(features)
        guesses = teacher_forced(compiled.decode, ENGLISH_RULES, tokens)
        matches = int(np.sum(np.array(guesses) == np.array([*tokens, ENGLISH_RULES.end])))
        compiled.encode(features)
        same = generate(compiled.decode, ENGLISH_RULES) == tokens
        table.add_row(clip.name, str(len(guesses)), str(matches), "yes" if same else "no")
        agreed, said = agreed + matches, said + len(guesses)
    console.print(table)
    console.print(f"teacher-forced agreement {agreed}/{said} = {agreed / said:.2%}")


if __name__ == "__main__":
    main(sys.argv[1:])
