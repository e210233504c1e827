"""Greedy decoding: what may be said, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from girih.runtime.errors import GirihError
from girih.runtime.generation import Rules, generate, teacher_forced

# Tokens 0 to 7 are words, 8 ends, 9 and 10 start, the rest is never said.
RULES = Rules(start=(9, 10), end=8, vocabulary=9, not_first=(0, 8), longest=20)
SIZE = 12


class Script:
    """A decoder that wants to say given tokens, and remembers what it was asked."""

    def __init__(self, wanted: Sequence[int]) -> None:
        self.wanted = wanted
        self.asked: list[tuple[int, int]] = []

    def __call__(self, token: int, position: int) -> NDArray[np.int16]:
        self.asked.append((token, position))
        logits = np.zeros(SIZE, np.int16)
        index = position - len(RULES.start) + 1
        if 0 <= index < len(self.wanted):
            logits[self.wanted[index]] = 100
        return logits


def test_says_what_is_most_likely_until_the_end() -> None:
    script = Script([3, 4, 5, 8, 6])
    heard: list[int] = []
    assert generate(script, RULES, heard.append) == [3, 4, 5] == heard
    assert script.asked == [(9, 0), (10, 1), (3, 2), (4, 3), (5, 4)]


def test_first_token_is_not_blank_nor_end() -> None:
    assert generate(Script([8, 8]), RULES) == [1]
    assert generate(Script([0, 8]), RULES) == [1]
    assert generate(Script([3, 0, 8]), RULES) == [3, 0]


def test_never_says_what_lies_beyond_the_vocabulary() -> None:
    assert generate(Script([11, 8]), RULES) == [1]
    assert generate(Script([10, 8]), RULES) == [1]


def test_ends_at_the_longest_length() -> None:
    said = generate(Script([3] * 100), RULES)
    assert len(said) == RULES.longest - len(RULES.start) + 1


def test_end_may_lie_beyond_the_vocabulary() -> None:
    rules = Rules(start=(9,), end=11, vocabulary=8)
    logits = np.zeros(SIZE, np.float32)
    logits[11] = 1
    assert rules.choose(logits, first=False) == 11


def test_no_start_token_is_refused() -> None:
    with pytest.raises(GirihError, match="start token"):
        generate(Script([3]), Rules(start=(), end=8, vocabulary=9))


def test_teacher_forcing_says_what_greedy_decoding_said() -> None:
    script = Script([3, 4, 5, 8])
    said = generate(script, RULES)
    assert teacher_forced(script, RULES, said) == [*said, RULES.end]


def test_teacher_forcing_goes_on_after_a_different_word() -> None:
    assert teacher_forced(Script([3, 4, 5, 8]), RULES, [3, 7, 5]) == [3, 4, 5, 8]


@given(
    st.lists(st.integers(-32768, 32767), min_size=SIZE, max_size=SIZE),
    st.floats(1e-6, 1e3),
    st.booleans(),
)
def test_integers_choose_as_their_real_values(values: list[int], scale: float, first: bool) -> None:
    integers = np.array(values, np.int16)
    chosen = RULES.choose(integers, first)
    assert chosen == RULES.choose(integers.astype(np.float64) * scale, first)
    assert chosen < RULES.vocabulary
    allowed = [n for n in range(9) if not (first and n in RULES.not_first)]
    # Of equal ones the lowest number, on every device.
    assert chosen == min(n for n in allowed if values[n] == max(values[m] for m in allowed))
