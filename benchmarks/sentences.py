"""Sentences to speak and sentence pairs to compare, combined from benchmarks/data/sentences.yaml.

Every sentence belongs to one split. An action occurs in one split only, so that what a search has
heard says nothing about a test.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

SOURCE = Path(__file__).parent / "data" / "sentences.yaml"

Split = Literal["calibration", "search", "test"]
SPLITS: tuple[Split, ...] = ("calibration", "search", "test")

_SENTENCES_PER_ACTION: dict[Split, int] = {"calibration": 2, "search": 3, "test": 2}
_SHAPES = (
    "{who} {action} {when}.",
    "{when}, {who} {action}.",
    "I was told that {who} {action}.",
    "{who} {action}, and nobody was surprised.",
    "Did you know that {who} {action} {when}?",
    "{who} {action}.",
)


@dataclass(frozen=True)
class Topic:
    """Who does what when; each action in two wordings of the same meaning."""

    name: str
    who: list[str]
    when: list[str]
    actions: list[tuple[str, str]]

    def of(self, split: Split) -> list[tuple[str, str]]:
        """The actions of a split: the first, the second, the others."""
        place = SPLITS.index(split)
        return self.actions[place : None if split == SPLITS[-1] else place + 1]


@dataclass(frozen=True)
class Pair:
    """Two sentences, and how close they were meant to be."""

    kind: Literal["paraphrase", "related", "unrelated"]
    first: str
    second: str


@cache
def topics() -> list[Topic]:
    """All topics of the file."""
    read = yaml.safe_load(SOURCE.read_text())
    return [
        Topic(name, each["who"], each["when"], [(a, b) for a, b in each["actions"]])
        for name, each in read.items()
    ]


def sentences(split: Split) -> list[str]:
    """The sentences of a split, the same ones each time: 32, 48 and 128."""
    chance = random.Random(f"sentences of {split}")
    shapes = itertools.cycle(_SHAPES)
    said: list[str] = []
    for number in range(_SENTENCES_PER_ACTION[split]):
        for topic in topics():
            who = chance.sample(topic.who, len(topic.of(split)))
            for action, person in zip(topic.of(split), who, strict=True):
                wording = action[number % 2]
                said.append(_say(next(shapes), person, wording, chance.choice(topic.when)))
    return said


def pairs(count: int = 200) -> list[Pair]:
    """Sentence pairs of the test's actions: a third each of the same, a related, another matter."""
    chance = random.Random("pairs")
    made: list[Pair] = []
    while len(made) < count:
        topic, other = chance.sample(topics(), 2)
        action, related = chance.sample(topic.of("test"), 2)
        foreign = chance.choice(other.of("test"))
        who, somebody = chance.sample(topic.who, 2)
        when, stranger = chance.choice(topic.when), chance.choice(other.who)
        shape = chance.choice(_SHAPES)
        first = _say(chance.choice(_SHAPES), who, action[0], when)
        if any(pair.first == first for pair in made):
            continue
        made += [
            Pair("paraphrase", first, _say(shape, who, action[1], when)),
            Pair("related", first, _say(shape, somebody, related[0], when)),
            Pair("unrelated", first, _say(shape, stranger, foreign[0], other.when[0])),
        ]
    return made[:count]


def _say(shape: str, who: str, action: str, when: str) -> str:
    text = shape.format(who=who, action=action, when=when)
    return text[0].upper() + text[1:]
