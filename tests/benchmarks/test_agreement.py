"""What the numbers of compression's benchmarks mean, on models made of tables."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from girih.runtime.generation import Rules

RULES = Rules(start=(5, 6), end=4, vocabulary=4, not_first=(0,), longest=12)
FEATURES = np.zeros((1, 2, 3), np.float32)


@pytest.fixture
def agreement(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import agreement

    return agreement


class Counting:
    """Says 1, 2, 3 and the end, or after a `slip` at a token something else; counts its work."""

    def __init__(self, slip: dict[int, int] | None = None) -> None:
        self.next = {6: 1, 1: 2, 2: 3, 3: 4} | (slip or {})
        self.encoded = 0
        self.steps: list[tuple[int, int]] = []

    def encode(self, features: Any) -> None:
        self.encoded += 1

    def decode(self, token: int, position: int) -> Any:
        self.steps.append((token, position))
        logits = np.zeros(7, np.float32)
        logits[self.next.get(token, 4)] = 5
        return logits


def test_the_teacher_agrees_with_itself(agreement: ModuleType) -> None:
    teacher = agreement.reference(agreement.Stepwise(Counting()), FEATURES, RULES)
    assert teacher.tokens == (1, 2, 3)
    assert teacher.logits.shape == (4, 7)
    found = agreement.agreement(agreement.Stepwise(Counting()), FEATURES, RULES, teacher)
    assert found == agreement.Agreement(4, 4, 0.0, (1, 2, 3))


def test_one_slip_costs_one_token_when_forced_and_the_rest_when_not(agreement: ModuleType) -> None:
    teacher = agreement.reference(agreement.Stepwise(Counting()), FEATURES, RULES)
    found = agreement.agreement(agreement.Stepwise(Counting({1: 0})), FEATURES, RULES, teacher)
    assert (found.predictions, found.agreed) == (4, 3)
    assert found.tokens == (1, 0)
    # Two logits, 5 and 0, changed places in one of the rows.
    share = np.exp(5) / (np.exp(5) + 6)
    assert found.divergence == pytest.approx(5 * (share - share / np.exp(5)))


def test_steps_are_computed_once_and_the_encoder_runs_once(agreement: ModuleType) -> None:
    model = Counting()
    logits = agreement.Stepwise(model)
    logits(FEATURES, [5, 6, 1, 2])
    logits(FEATURES, [5, 6, 1])
    logits(FEATURES, [5, 6, 1, 3, 2])
    assert model.steps == [(5, 0), (6, 1), (1, 2), (2, 3), (3, 3), (2, 4)]
    assert model.encoded == 1
    # Other features of equal values are another window.
    assert logits(FEATURES.copy(), [5]).shape == (1, 7)
    assert model.encoded == 2
    assert model.steps[-1] == (5, 0)


def test_the_first_token_follows_its_own_rule(agreement: ModuleType) -> None:
    logits = np.array([[9, 8, 0, 0, 0], [9, 8, 0, 0, 0]])
    assert agreement.agreed_tokens(logits, [1, 0], RULES) == 2
    assert agreement.agreed_tokens(logits, [0, 1], RULES) == 0


def test_divergence_is_that_of_the_distributions(agreement: ModuleType) -> None:
    expected = np.log(np.array([[0.5, 0.5], [0.9, 0.1]]))
    found = np.log(np.array([[0.25, 0.75], [0.9, 0.1]])) + 3
    kl = agreement.divergence(expected, found)
    assert kl == pytest.approx([0.5 * np.log(2) + 0.5 * np.log(2 / 3), 0], abs=1e-12)


@pytest.mark.parametrize(
    ("expected", "found", "count"),
    [
        ("", "", 0),
        ("a b c", "", 3),
        ("", "a b", 2),
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "b c", 1),
        ("a b c", "c a b", 2),
        ("a b c d", "x a b d y", 3),
    ],
)
def test_edits(agreement: ModuleType, expected: str, found: str, count: int) -> None:
    assert agreement.edits(expected.split(), found.split()) == count


def test_word_errors_ignore_case_and_punctuation(agreement: ModuleType) -> None:
    pairs = [("The cat, he said, sat.", "the cat he said sat"), ("It's late", "It\u2019s so late!")]
    assert agreement.word_error_rate(pairs) == 1 / 7


def test_a_teacher_that_never_ends_is_followed_to_the_longest_length(
    agreement: ModuleType,
) -> None:
    # Some synthesized clips send float32 round in circles; one position more does not exist.
    endless = Counting({3: 1})
    teacher = agreement.reference(agreement.Stepwise(endless), FEATURES, RULES)
    assert len(teacher.tokens) == RULES.longest - 1
    found = agreement.agreement(agreement.Stepwise(Counting({3: 1})), FEATURES, RULES, teacher)
    assert (found.predictions, found.agreed) == (RULES.longest - 1, RULES.longest - 1)
    assert max(position for _, position in endless.steps) == RULES.longest - 1
