"""How far a compressed speech model is from its float32 original, and how often it mishears.

A model is measured as a callable `Logits`: features of a window and tokens in, logits after each of
the tokens out. What decodes a token at a time becomes one by `Stepwise`; a model of another tool
that takes whole prefixes is one already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from girih.runtime.generation import Rules, generate
from girih.runtime.transcription import CompiledSpeech, SpeechModel

Array = NDArray[Any]


class Logits(Protocol):
    """A speech model that says how likely each next token is."""

    def __call__(self, features: Array, tokens: Sequence[int]) -> Array:
        """Logits (tokens, vocabulary) after each token, given a window's log-mel features."""
        ...


class Stepwise:
    """Logits of a model that encodes once and then decodes a token at a time.

    What is known already is not computed again: the encoder's output while the features are the
    same array, and the steps of the tokens that the last call had too. A step may go back: a cache
    row is written before it is read, and rows behind the position are masked.
    """

    def __init__(self, model: SpeechModel) -> None:
        self.model = model
        self._features: Array | None = None
        self._tokens: list[int] = []
        self._rows: list[Array] = []

    def __call__(self, features: Array, tokens: Sequence[int]) -> Array:
        if features is not self._features:
            self.model.encode(features)
            self._features, self._tokens = features, []
        known = 0
        for old, new in zip(self._tokens, tokens, strict=False):
            if old != new:
                break
            known += 1
        del self._tokens[known:], self._rows[known:]
        for position, token in enumerate(tokens[known:], known):
            self._rows.append(self.model.decode(token, position).copy())
            self._tokens.append(token)
        return np.stack(self._rows[: len(tokens)])


class CompiledLogits(CompiledSpeech):
    """A compiled program whose logits are real values, which a divergence needs."""

    def decode(self, token: int, position: int) -> Array:
        (logits,) = self.session["decode"](
            np.array([[token]], np.int64), np.array([position], np.int64)
        )
        return logits.reshape(-1)


@dataclass(frozen=True)
class Reference:
    """What float32 says of a clip, greedily: the tokens, and the logits of each and of the end."""

    tokens: tuple[int, ...]
    logits: Array


@dataclass(frozen=True)
class Agreement:
    """One clip: how often the next token is float32's, and how far its distribution is.

    predictions: next tokens asked for, the end included, given float32's tokens so far. agreed: how
    many were float32's. divergence: KL(float32, model) in nats, summed over the predictions.
    tokens: what the model says when it goes by its own tokens.
    """

    predictions: int
    agreed: int
    divergence: float
    tokens: tuple[int, ...]


def greedy(model: Logits, features: Array, rules: Rules) -> tuple[int, ...]:
    """What a model says of a window, always the most likely token."""
    said: list[int] = []

    def step(token: int, position: int) -> Array:
        del said[position:]
        said.append(token)
        return model(features, said)[-1]

    return tuple(generate(step, rules))


def reference(model: Logits, features: Array, rules: Rules) -> Reference:
    """What the float32 model says of a window, and how sure it is."""
    tokens = greedy(model, features, rules)
    return Reference(tokens, _predictions(model, features, rules, tokens))


def agreement(model: Logits, features: Array, rules: Rules, teacher: Reference) -> Agreement:
    """Compare a model with float32 on one window."""
    logits = _predictions(model, features, rules, teacher.tokens)
    return compared(logits, greedy(model, features, rules), rules, teacher)


def compared(logits: Array, tokens: Sequence[int], rules: Rules, teacher: Reference) -> Agreement:
    """Compare with float32 the logits that follow its tokens, and what a model says by itself."""
    # What reaches the longest length never says its end.
    expected = [*teacher.tokens, rules.end][: len(logits)]
    return Agreement(
        predictions=len(expected),
        agreed=agreed_tokens(logits, expected, rules),
        divergence=float(divergence(teacher.logits, logits).sum()),
        tokens=tuple(tokens),
    )


def _predictions(model: Logits, features: Array, rules: Rules, tokens: Sequence[int]) -> Array:
    forced = [*rules.start, *tokens][: rules.longest]
    return model(features, forced)[len(rules.start) - 1 :]


def agreed_tokens(logits: Array, expected: Sequence[int], rules: Rules) -> int:
    """How many rows of logits choose the expected token, the first row as a sentence's first."""
    chosen = [rules.choose(row, first=number == 0) for number, row in enumerate(logits)]
    return sum(one == other for one, other in zip(chosen, expected, strict=True))


def divergence(expected: Array, found: Array) -> Array:
    """KL(softmax(expected), softmax(found)) in nats of each row: 0 where they are the same."""
    ours = log_softmax(expected.astype(np.float64), axis=-1)
    theirs = log_softmax(found.astype(np.float64), axis=-1)
    return np.sum(np.exp(ours) * (ours - theirs), axis=-1)


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; apostrophes belong to words."""
    return re.findall(r"[a-z0-9']+", text.lower().replace("’", "'"))


def edits(expected: Sequence[str], found: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions that turn one sequence into the other."""
    costs = list(range(len(found) + 1))
    for row, word in enumerate(expected, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(found, 1):
            cheapest = min(diagonal + (word != other), costs[column] + 1, costs[column - 1] + 1)
            diagonal, costs[column] = costs[column], cheapest
    return costs[-1]


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Word edits per word spoken, over all (spoken, heard) texts together."""
    wrong = total = 0
    for spoken, heard in pairs:
        expected = words(spoken)
        wrong += edits(expected, words(heard))
        total += len(expected)
    return wrong / total
