"""What girih's recipes keep of Whisper, beside other quantizers: same model, same data.

    python benchmarks/compression.py [--model tiny.en base] [--clips 100] [--peers nncf] [--fresh]

Size, agreement with float32 on its own tokens, divergence of the next token's distribution, words
heard wrong; of girih's programs also the simulated cycles and energy of the encoder and a decode
step. The other tools run in an environment of their own, build/peers/quantizers, which the first
run installs. What was measured is kept; `--fresh` asks the other tools anew. Tables go to the
console and to build/compression/. docs/peers.md says how the comparison is made.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from agreement import Agreement
from kept import ROOT, file_digest
from mapping import Grid, number
from peers.environments import UnavailableError
from peers.quantizers import QUANTIZERS, Quantizer, ask
from peers.whisper import stored_bytes
from rich.console import Console
from speech_models import Score, Spoken, Whisper, logits_of, test_clips

from girih.compiler.artifact import load
from girih.runtime.transcription import CHECKPOINTS

FOLDER = ROOT / "build" / "compression"
RECIPES = ("w8a8", "w4a8")
HEADER = (
    "tool, recipe",
    "MB",
    "agree",
    "KL, nats",
    "WER",
    "same text",
    "encoder Mcycles",
    "mJ",
    "step Mcycles",
    "mJ",
    "",
)


@dataclass(frozen=True)
class Cost:
    """One run of an entry on the simulated accelerator."""

    cycles: int
    energy_joules: float


@dataclass(frozen=True)
class Row:
    """A tool's model; what is None could not be had, and `why` says what failed.

    bytes: of the parameters as they are stored. encode, decode: of girih's programs alone.
    """

    title: str
    bytes: int | None = None
    score: Score | None = None
    encode: Cost | None = None
    decode: Cost | None = None
    why: str = ""

    def cells(self) -> tuple[str, ...]:
        """As the table shows it; see `HEADER`."""
        score, measured = self.score, ("-",) * 4
        if score is not None:
            measured = (
                f"{score.agreement:.2%}",
                f"{score.divergence:.5f}",
                f"{score.word_error_rate:.2%}",
                f"{score.same_transcripts:.0%}",
            )
        simulated: list[str] = []
        for cost in (self.encode, self.decode):
            simulated.append(number(None if cost is None else cost.cycles, 3, 1e-6))
            simulated.append(number(None if cost is None else cost.energy_joules, 3, 1e3))
        return (self.title, number(self.bytes, 2, 1e-6), *measured, *simulated, self.why)


def float32_row(whisper: Whisper, clips: Sequence[Spoken]) -> Row:
    """What all others are compared with."""
    said = [whisper.reference(clip).tokens for clip in clips]
    itself = [Agreement(len(each) + 1, len(each) + 1, 0.0, each) for each in said]
    return Row("float32", stored_bytes(whisper.model), whisper.summary(itself, clips))


def girih_row(whisper: Whisper, recipe: str, clips: Sequence[Spoken], console: Console) -> Row:
    """A recipe of ours, compiled for the target edge."""
    say = partial(console.print, f"compile {whisper.checkpoint.name} {recipe}:", highlight=False)
    artifact = whisper.compiled(recipe, say)
    program = load(artifact)
    reports = (program[entry].cost().report for entry in ("encode", "decode"))
    encode, decode = (Cost(report.cycles, report.energy_joules) for report in reports)
    return Row(
        f"girih, {recipe}",
        sum(array.nbytes for array in program.executable.parameters.values()),
        whisper.score(file_digest(artifact), partial(logits_of, artifact), clips),
        encode,
        decode,
    )


def peer_row(
    whisper: Whisper, tool: Quantizer, recipe: str, clips: Sequence[Spoken], fresh: bool
) -> Row:
    """Another tool's recipe; a tool that fails has no numbers."""
    title = f"{tool.title}, {recipe}"
    try:
        answer = ask(tool, recipe, whisper, clips, fresh)
    except UnavailableError as error:
        return Row(title, why=str(error))
    if answer.why:
        return Row(title, why=answer.why)
    found = [answer.clips[file_digest(clip.path)] for clip in clips]
    return Row(title, answer.bytes, whisper.summary(found, clips), why=answer.note)


def rows(whisper: Whisper, options: argparse.Namespace, console: Console) -> Iterator[Row]:
    """float32, girih's recipes, then the other tools'."""
    clips = test_clips(options.clips)
    yield float32_row(whisper, clips)
    for recipe in RECIPES:
        yield girih_row(whisper, recipe, clips, console)
    for tool in (QUANTIZERS[name] for name in options.peers):
        for recipe in tool.recipes:
            yield peer_row(whisper, tool, recipe, clips, options.fresh)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each model, and write it to build/compression/."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=list(CHECKPOINTS), default=["tiny.en"])
    parser.add_argument("--clips", type=int, default=100, help="synthesized test clips")
    parser.add_argument("--peers", nargs="*", choices=list(QUANTIZERS), default=list(QUANTIZERS))
    parser.add_argument("--fresh", action="store_true", help="ask the other tools anew")
    options = parser.parse_args(arguments)
    console = Console(width=200)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in options.model:
        whisper = Whisper(CHECKPOINTS[name])
        found = list(rows(whisper, options, console))
        tokens = {row.score.tokens for row in found if row.score is not None}
        title = f"Whisper {name}, {options.clips} clips, {tokens.pop()} tokens"
        grid = Grid(title, HEADER, [row.cells() for row in found])
        console.print(grid.rich())
        (FOLDER / f"{name}.md").write_text(grid.markdown() + "\n")


if __name__ == "__main__":
    main()
