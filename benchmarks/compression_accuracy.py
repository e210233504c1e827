"""What a recipe costs in accuracy, beside float32 PyTorch, on data that calibration has not heard.

    python benchmarks/compression_accuracy.py [--model tiny.en base minilm] [--recipe w8a8]

Speech: teacher-forced tokens (float32's own, one after another), the divergence of the next
token's distribution, and word errors. MiniLM: the rank correlation of 200 sentence similarities.
Programs, float32's answers and results are kept in build/agreement/: what did not change is not
measured again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import similarity
from kept import file_digest
from rich.console import Console
from rich.table import Table
from sentences import pairs
from speech_models import Whisper, logits_of, test_clips

from girih.compiler.models.minilm import sentence_encoder
from girih.runtime.transcription import CHECKPOINTS

MINILM = "minilm"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each model with each recipe; print a table of speech, and one of sentences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    models = [*CHECKPOINTS, MINILM]
    parser.add_argument("--model", nargs="+", choices=models, default=models)
    parser.add_argument("--recipe", nargs="+", default=["w8a8"])
    parser.add_argument("--clips", type=int, default=100, help="synthesized test clips")
    options = parser.parse_args(arguments)
    console = Console()
    spoken = [CHECKPOINTS[name] for name in options.model if name in CHECKPOINTS]
    if spoken:
        table = _speech_table([Whisper(each) for each in spoken], options, console)
        console.print(table)
    if MINILM in options.model:
        console.print(_similarity_table(options, console))


def _speech_table(models: list[Whisper], options: argparse.Namespace, console: Console) -> Table:
    clips = test_clips(options.clips)
    table = Table(
        "model", "recipe", "clips", "tokens", "agree", "KL, nats", "same text", "WER", "float WER",
        "seconds",
    )  # fmt: skip
    for whisper in models:
        for recipe in options.recipe:
            artifact = whisper.compiled(recipe, _say(console, whisper.checkpoint.name, recipe))
            start = time.perf_counter()
            score = whisper.score(file_digest(artifact), partial(logits_of, artifact), clips)
            table.add_row(
                whisper.checkpoint.name,
                recipe,
                str(score.clips),
                str(score.tokens),
                f"{score.agreement:.2%}",
                f"{score.divergence:.4f}",
                f"{score.same_transcripts:.0%}",
                f"{score.word_error_rate:.2%}",
                f"{score.float_word_error_rate:.2%}",
                f"{time.perf_counter() - start:.0f}",
            )
    return table


def _similarity_table(options: argparse.Namespace, console: Console) -> Table:
    table = Table("model", "recipe", "pairs", "rank correlation", "largest difference")
    model = sentence_encoder()
    chosen = pairs()
    expected = similarity.similarities(similarity.float32(model), chosen, "minilm: float32")
    for recipe in options.recipe:
        artifact = similarity.compiled(model, recipe, _say(console, MINILM, recipe))
        encode = similarity.on_iree(artifact)
        found = similarity.similarities(encode, chosen, f"minilm: {recipe}")
        score = similarity.compare(expected, found)
        table.add_row(
            MINILM,
            recipe,
            str(score.pairs),
            f"{score.rank_correlation:.4f}",
            f"{score.largest_difference:.4f}",
        )
    return table


def _say(console: Console, model: str, recipe: str) -> Callable[[str], None]:
    return lambda stage: console.print(f"compile {model} {recipe}: {stage}", highlight=False)


if __name__ == "__main__":
    main()
