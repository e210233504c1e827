"""Transcribe speech: python examples/whisper.py [--device torch|iree|npu] [--json] AUDIO..."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from girih.compiler.artifact import load
from girih.compiler.models.speech import EagerSpeech, compile_whisper
from girih.compiler.program import CompiledProgram
from girih.runtime.audio import read_audio
from girih.runtime.errors import GirihError
from girih.runtime.transcription import CompiledSpeech, SpeechModel, Transcriber

CALIBRATION = sorted((Path(__file__).parent / "data" / "calibration").glob("*.wav"))


def program(target: str, recipe: str, artifact: Path | None) -> CompiledProgram:
    """The artifact where there is one, or else a compilation, kept there for the next time."""
    if artifact is not None and artifact.exists():
        return load(artifact)
    compiled = compile_whisper(
        target,
        recipe,
        calibration_audio=CALIBRATION,
        progress=lambda stage: print(f"{stage} ...", file=sys.stderr, flush=True),
    )
    if artifact is not None:
        compiled.save(artifact)
    return compiled


def main() -> int:
    parser = argparse.ArgumentParser(description="Transcribe English speech with Whisper tiny.en.")
    parser.add_argument("audio", nargs="+", help="audio files of any rate and channel count")
    parser.add_argument("--device", choices=("torch", "iree", "npu"), default="iree")
    parser.add_argument("--json", action="store_true", help="a line {file, text, tokens} per clip")
    parser.add_argument("--artifact", type=Path, help="compiled program to load, or to make")
    parser.add_argument("--target", default="edge", help="accelerator to compile for")
    parser.add_argument("--recipe", default="w8a8", help="how to quantize; float for not at all")
    options = parser.parse_args()
    try:
        for path in options.audio:
            read_audio(path)  # refuse a bad file before a minute of compilation
        model: SpeechModel
        if options.device == "torch":
            model = EagerSpeech()
        else:
            compiled = program(options.target, options.recipe, options.artifact)
            model = CompiledSpeech(compiled.session(options.device))
        for transcript in Transcriber(model).transcribe_all(options.audio):
            if options.json:
                print(json.dumps(transcript.to_dict()), flush=True)
            else:
                print(f"{transcript.file}: {transcript.text}", flush=True)
    except GirihError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
