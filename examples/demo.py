"""The `make demo` program: the same speech through PyTorch, IREE and the simulated accelerator.

Ends with status 1 where the two compiled devices differ in a token or in any integer of any logit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from girih.compiler.models.speech import EagerSpeech, compile_whisper
from girih.compiler.models.whisper import pretrained
from girih.compiler.program import CompiledProgram
from girih.runtime.audio import SAMPLE_RATE, log_mel
from girih.runtime.errors import GirihError
from girih.runtime.report import Report
from girih.runtime.report_html import html
from girih.runtime.report_timeline import timeline_json
from girih.runtime.transcription import (
    CHECKPOINTS,
    TINY_ENGLISH,
    Checkpoint,
    CompiledSpeech,
    SpeechModel,
    Transcriber,
    Transcript,
)

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION = sorted((ROOT / "examples" / "data" / "calibration").glob("*.wav"))
CLIPS = (
    ROOT / "examples" / "data" / "demo.wav",
    ROOT.parent / "shared" / "data" / "speech" / "jfk.wav",
)
LABELS = {
    "torch": "PyTorch float32",
    "iree": "girih {recipe} on IREE",
    "npu": "girih {recipe} on the simulated accelerator",
}


@dataclass
class Recorder:
    """A speech model that remembers the logits that it returned."""

    model: SpeechModel
    logits: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])

    def encode(self, features: NDArray[Any]) -> None:
        self.model.encode(features)

    def decode(self, token: int, position: int) -> NDArray[Any]:
        self.logits.append(self.model.decode(token, position).copy())
        return self.logits[-1]


@dataclass(frozen=True)
class Run:
    """One clip on one device."""

    transcript: Transcript
    logits: list[NDArray[Any]]
    wall_seconds: float


def compile_with_progress(
    console: Console, checkpoint: Checkpoint, target: str, recipe: str
) -> CompiledProgram:
    """Compile, showing the stage at work; where nobody watches, one line per stage."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("start")

        def show(stage: str) -> None:
            display.update(task, description=f"compile: {stage}")
            if not console.is_terminal:
                console.print(f"compile: {stage}")

        return compile_whisper(
            target,
            recipe,
            calibration_audio=CALIBRATION,
            checkpoint=checkpoint,
            progress=show,
        )


def transcribe(model: SpeechModel, checkpoint: Checkpoint, clip: Path) -> Run:
    """One clip on one device, with its logits and its time."""
    recorder = Recorder(model)
    transcriber = Transcriber(recorder, checkpoint)
    start = time.perf_counter()
    transcript = transcriber.transcribe(clip)
    return Run(transcript, recorder.logits, time.perf_counter() - start)


def differences(ours: Run, theirs: Run) -> list[str]:
    """What differs between two compiled runs: nothing, or a line each for tokens and logits."""
    found: list[str] = []
    if ours.transcript.tokens != theirs.transcript.tokens:
        found.append(f"tokens {ours.transcript.tokens} and {theirs.transcript.tokens}")
    if len(ours.logits) != len(theirs.logits):
        found.append(f"{len(ours.logits)} and {len(theirs.logits)} decoder steps")
    for step, (one, other) in enumerate(zip(ours.logits, theirs.logits, strict=False)):
        if not np.array_equal(one, other):
            count = int((one != other).sum())
            found.append(f"{count} of {one.size} logits, first at decoder step {step}")
            break
    return found


def show(console: Console, clip: Path, runs: dict[str, Run], recipe: str) -> bool:
    """Print a clip's transcripts and whether the compiled devices agree."""
    console.print(f"\n[bold]{clip.name}[/bold]")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for device, run in runs.items():
        label = LABELS[device].format(recipe=recipe)
        table.add_row(label, f"{run.wall_seconds:.2f} s", run.transcript.text)
    console.print(table)
    found = differences(runs["iree"], runs["npu"])
    for difference in found:
        console.print(f"[red]IREE and the accelerator differ: {difference}[/red]")
    if not found:
        logits = runs["npu"].logits
        count = sum(step.size for step in logits)
        console.print(
            "[green]IREE and the accelerator agree:[/green] "
            f"{len(runs['npu'].transcript.tokens)} tokens, "
            f"{count:,} logits ({logits[0].dtype}) of {len(logits)} steps"
        )
    return not found


def write_reports(
    folder: Path, title: str, program: CompiledProgram, reports: dict[str, Report]
) -> None:
    """Write report.html, report.json and timeline.json."""
    folder.mkdir(parents=True, exist_ok=True)
    target = program.executable.target.name
    (folder / "report.html").write_text(html(reports, f"{title} on target {target}"))
    values = ",\n".join(f'"{name}": {report.to_json()}' for name, report in reports.items())
    (folder / "report.json").write_text(f"{{{values}}}\n")
    (folder / "timeline.json").write_text(timeline_json(program["encode"].cost().report))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=CHECKPOINTS, default=TINY_ENGLISH.name)
    parser.add_argument("--target", default="edge")
    parser.add_argument("--recipe", default="w8a8")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "demo")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        checkpoint = CHECKPOINTS[options.model]
        return demonstrate(console, checkpoint, options.target, options.recipe, options.output)
    except GirihError as error:
        console.print(f"[red]error:[/red] {error}")
        return 1


def demonstrate(
    console: Console, checkpoint: Checkpoint, target: str, recipe: str, output: Path
) -> int:
    """Compile, transcribe, compare, report; 0 where the compiled devices agree."""
    start = time.perf_counter()
    program = compile_with_progress(console, checkpoint, target, recipe)
    console.print(f"compiled for target {target} in {time.perf_counter() - start:.0f} s")
    devices: dict[str, SpeechModel] = {
        "torch": EagerSpeech(pretrained(checkpoint)),
        "iree": CompiledSpeech(program.session("iree")),
    }
    accelerated = program.session("npu")
    devices["npu"] = CompiledSpeech(accelerated)
    # The feature extractor is imported on first use: none of the devices should pay for that.
    log_mel(np.zeros(SAMPLE_RATE, np.float32))
    agree = True
    for clip in CLIPS:
        if not clip.is_file():
            console.print(f"\n{clip.name} is not here: left out")
            continue
        runs = {device: transcribe(model, checkpoint, clip) for device, model in devices.items()}
        agree &= show(console, clip, runs, recipe)

    encode, steps = accelerated.reports["encode"][0], accelerated.reports["decode"]
    reports = {"encode": encode, "decode": Report.merge(steps)}
    console.print()
    console.print(encode.table(15, title="encode, one window of 30 s"))
    console.print(steps[-1].table(10, title="decode, one step"))
    host = {(operation.name, operation.reason) for operation in encode.host_operations}
    host |= {(operation.name, operation.reason) for operation in steps[0].host_operations}
    for name, reason in sorted(host):
        console.print(f"on the host: {name}: {reason}")
    write_reports(output, checkpoint.title, program, reports)
    console.print(f"reports: {output}/report.html, report.json, timeline.json (ui.perfetto.dev)")
    if not agree:
        console.print("[red]FAILED: the compiled devices differ[/red]")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
