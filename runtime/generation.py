"""Greedy decoding of encoder-decoder models, over any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from girih.runtime.errors import InputError

Array = NDArray[Any]


class Decoder(Protocol):
    """One step: the token at a position in, logits over the vocabulary out."""

    def __call__(self, token: int, position: int) -> Array:
        """Return logits (vocabulary) for the next token."""
        ...


@dataclass(frozen=True)
class Rules:
    """Which tokens a model starts with, ends with, and must not say.

    start: forced first tokens. end: the token that ends a sentence. vocabulary: tokens from here
    on are never said, the end excepted. not_first: tokens that may not come first.
    """

    start: tuple[int, ...]
    end: int
    vocabulary: int
    not_first: tuple[int, ...] = ()
    longest: int = 448

    def choose(self, logits: Array, first: bool) -> int:
        """The most likely token that may be said; the lowest number where several are equal."""
        scores = logits[: max(self.vocabulary, self.end + 1)].astype(np.float64)
        banned = np.arange(len(scores)) >= self.vocabulary
        banned[self.end] = False
        if first:
            banned[list(self.not_first)] = True
        scores[banned] = -np.inf
        return int(scores.argmax())


def generate(
    decoder: Decoder,
    rules: Rules,
    on_token: Callable[[int], None] = lambda token: None,
) -> list[int]:
    """Decode greedily until the end token or the longest length; the start tokens are left out."""
    if not rules.start:
        raise InputError("greedy decoding needs at least one start token")
    tokens = list(rules.start)
    for position in range(rules.longest):
        logits = decoder(tokens[position], position)
        if position + 1 < len(tokens):
            continue
        token = rules.choose(logits, first=len(tokens) == len(rules.start))
        if token == rules.end:
            break
        tokens.append(token)
        on_token(token)
    return tokens[len(rules.start) :]


def teacher_forced(decoder: Decoder, rules: Rules, tokens: Sequence[int]) -> list[int]:
    """What greedy decoding would say after each prefix of given tokens, the end included."""
    forced = [*rules.start, *tokens]
    said: list[int] = []
    for position, token in enumerate(forced):
        logits = decoder(token, position)
        if position + 1 >= len(rules.start):
            said.append(rules.choose(logits, first=position + 1 == len(rules.start)))
    return said
