"""Other tools that quantize Whisper, asked clip by clip; what they answered is kept.

They share one virtual environment, build/peers/quantizers. Answers lie in build/peers/whisper/, a
file for each model, tool and recipe, and hold while versions, drivers and weights are the same.
"""

from __future__ import annotations

import hashlib
import json
import operator
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from agreement import Agreement, compared
from kept import file_digest
from peers.environments import DRIVERS, FOLDER, Peer
from pydantic import TypeAdapter
from rich.progress import track
from speech_models import Spoken, Whisper

from girih.compiler.files import replacing

ENVIRONMENT = Peer(
    "quantizers",
    (
        "torch==2.13.0",
        "transformers==5.23.0",
        "torchao==0.18.0",
        "optimum-quanto==0.2.7",
        "nncf==3.4.0",
        "openvino==2026.4.1",
        "onnxruntime==1.32.0",
        "onnx==1.23.2",
        "onnxscript==0.7.2",
    ),
)


@dataclass(frozen=True)
class Quantizer:
    """A tool: its driver is peers/whisper_<name>.py, which knows these recipes."""

    name: str
    title: str
    recipes: tuple[str, ...]

    @property
    def driver(self) -> Path:
        """What runs in the environment."""
        return DRIVERS / f"whisper_{self.name}.py"


QUANTIZERS = {
    each.name: each
    for each in (
        Quantizer(
            "nncf",
            "OpenVINO NNCF",
            ("int8 weights", "int4 weights", "int4 weights, all, groups of 32"),
        ),
        Quantizer(
            "torchao",
            "torchao",
            ("int8 weights", "int8 dynamic", "int4 weights", "int8 dynamic, int4 weights"),
        ),
        Quantizer("onnxruntime", "ONNX Runtime", ("int8 dynamic", "int8 dynamic, by channel")),
        Quantizer("quanto", "optimum-quanto", ("int8 weights", "int4 weights")),
    )
}


@dataclass
class Answer:
    """What a tool made of a model; `why` says what failed where it could not.

    bytes: of the parameters as the tool stores them. clips: by the digest of their audio.
    """

    key: str
    bytes: int | None = None
    note: str = ""
    why: str = ""
    clips: dict[str, Agreement] = field(default_factory=dict[str, Agreement])


_ANSWER = TypeAdapter(Answer)


def ask(
    tool: Quantizer, recipe: str, whisper: Whisper, clips: Sequence[Spoken], fresh: bool = False
) -> Answer:
    """How a tool's model agrees with float32 on each clip, from memory unless `fresh`.

    Raises `UnavailableError` where the environment can not be made.
    """
    checkpoint = whisper.checkpoint
    store = FOLDER / "whisper" / f"{checkpoint.name} {tool.name} {recipe}.json"
    store.parent.mkdir(parents=True, exist_ok=True)
    sources = [file_digest(DRIVERS / "whisper.py"), file_digest(tool.driver)]
    inputs = [ENVIRONMENT.requirements, sources, recipe, whisper.weights, checkpoint.rules]
    answer = Answer(hashlib.sha256(repr(inputs).encode()).hexdigest())
    if store.exists() and not fresh:
        kept = _ANSWER.validate_python(json.loads(store.read_text()))
        answer = kept if kept.key == answer.key else answer
    missing = [clip for clip in clips if file_digest(clip.path) not in answer.clips]
    if not missing or answer.why:
        return answer
    with tempfile.TemporaryDirectory() as folder:
        case = {
            "recipe": recipe,
            "model": str(_weights(whisper)),
            "rules": asdict(checkpoint.rules),
            "clips": [str(file) for file in _taught(whisper, missing, Path(folder))],
        }
        try:
            lines = _run(tool, case)
            answer.bytes, answer.note = operator.itemgetter("bytes", "note")(next(lines))
            title = f"{checkpoint.name}: {tool.title}, {recipe}"
            for line, clip in zip(track(lines, title, total=len(missing)), missing, strict=True):
                logits = Path(line["logits"])
                answer.clips[file_digest(clip.path)] = compared(
                    np.load(logits), line["tokens"], checkpoint.rules, whisper.reference(clip)
                )
                logits.unlink()
                _keep(answer, store)
        except _FailureError as failure:
            answer.why = str(failure)
            _keep(answer, store)
    return answer


class _FailureError(Exception):
    """A driver's last words."""


def _run(tool: Quantizer, case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A driver's answers to a case, as they come. Raises `_FailureError` where it fails."""
    command = [str(ENVIRONMENT.interpreter()), str(tool.driver)]
    log = FOLDER / f"{tool.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(json.dumps(case))
        process.stdin.close()
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode < 0:
        raise _FailureError(f"killed by {signal.Signals(-process.returncode).name}")
    if process.returncode != 0:
        said = log.read_text(errors="replace").strip().splitlines()
        raise _FailureError(said[-1] if said else f"ended with {process.returncode}")


def _taught(whisper: Whisper, clips: Sequence[Spoken], folder: Path) -> list[Path]:
    """Files of what a driver is told of each clip: its features and what float32 says."""
    files: list[Path] = []
    for clip in track(clips, f"{whisper.checkpoint.name}: float32"):
        files.append(folder / f"{len(files)}.npz")
        tokens = np.array(whisper.reference(clip).tokens, np.int64)
        np.savez(files[-1], features=clip.features(), tokens=tokens)
    return files


def _weights(whisper: Whisper) -> Path:
    """The folder of a float32 model that drivers start from."""
    folder = FOLDER / "weights" / f"{whisper.checkpoint.name} {whisper.weights[0][:12]}"
    if not folder.exists():
        whisper.model.save_pretrained(partial := folder.with_suffix(".partial"))
        partial.rename(folder)
    return folder


def _keep(answer: Answer, store: Path) -> None:
    with replacing(store) as file:
        file.write(json.dumps(asdict(answer), indent=1).encode())
