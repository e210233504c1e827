"""all-MiniLM-L6-v2: does a compiled encoder order sentence pairs as float32 does?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kept import compiler_digest, file_digest, place
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import spearmanr
from sentences import Pair, sentences

from girih.compiler.artifact import load
from girih.compiler.compilation import compile
from girih.compiler.models.minilm import (
    SentenceEncoder,
    SentenceTokenizer,
    calibration_inputs,
    weights_file,
)
from girih.compiler.recipe import Recipe

Array = NDArray[Any]
Encoder = Callable[[Array, Array], Array]
"""Tokens and mask, each (1, n), to a vector of any shape."""


@dataclass(frozen=True)
class Score:
    """A sentence encoder beside float32, on the same pairs.

    rank_correlation: Spearman's, of the pairs' similarities. largest_difference: of a similarity.
    """

    pairs: int
    rank_correlation: float
    largest_difference: float


def similarities(encode: Encoder, pairs: Sequence[Pair], title: str) -> NDArray[np.float64]:
    """The cosine of each pair's vectors."""
    tokenizer = SentenceTokenizer()
    vectors: dict[str, Array] = {}
    distinct = dict.fromkeys(text for pair in pairs for text in (pair.first, pair.second))
    for text in track(list(distinct), title):
        vectors[text] = np.ravel(encode(*tokenizer(text)))
    return np.array([cosine(vectors[pair.first], vectors[pair.second]) for pair in pairs])


def cosine(one: Array, other: Array) -> float:
    """The cosine of the angle between two vectors."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def compare(expected: NDArray[np.float64], found: NDArray[np.float64]) -> Score:
    """Rank correlation and largest difference of two lists of similarities."""
    correlation: Any = spearmanr(expected, found)
    largest = float(np.abs(expected - found).max())
    return Score(len(expected), float(correlation.statistic), largest)


def float32(model: SentenceEncoder) -> Encoder:
    """The model in PyTorch."""

    @torch.no_grad()
    def encode(tokens: Array, mask: Array) -> Array:
        return model(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()

    return encode


def compiled(model: SentenceEncoder, recipe: str, progress: Callable[[str], None]) -> Path:
    """The artifact of the model, calibrated with the sentences of the calibration split."""
    texts = sentences("calibration")
    settings = Recipe.load(recipe)
    path = place(
        "programs", ".girih", file_digest(weights_file()), settings, texts, compiler_digest()
    )
    if not path.exists():
        examples = calibration_inputs(texts)
        compile(
            model,
            examples[0],
            recipe=settings,
            calibration=examples if settings.quantized else None,
            progress=progress,
        ).save(path)
    return path


def on_iree(artifact: Path) -> Encoder:
    """A compiled model on IREE."""
    program = load(artifact)
    return lambda tokens, mask: program(tokens, mask)[0]
