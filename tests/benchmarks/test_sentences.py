"""Splits of sentences and clips are the same each time and share nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

COUNTS = {"calibration": 32, "search": 48, "test": 128}


@pytest.fixture
def sentences(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import sentences

    return sentences


@pytest.fixture
def speech_data(sentences: ModuleType) -> ModuleType:
    import speech_data

    return speech_data


def test_no_action_is_in_two_splits(sentences: ModuleType) -> None:
    seen: dict[str, str] = {}
    for split, count in COUNTS.items():
        said = sentences.sentences(split)
        assert len(set(said)) == len(said) == count
        actions = [both for topic in sentences.topics() for both in topic.of(split)]
        for wording in (text for both in actions for text in both):
            assert seen.setdefault(wording, split) == split, wording
        assert all(any(a in text or b in text for a, b in actions) for text in said)


def test_another_process_makes_the_same(repository: Path, sentences: ModuleType) -> None:
    # Not so where the order of a set or a salted hash plays a part.
    code = "import sentences as s; print([s.sentences(x) for x in s.SPLITS], s.pairs())"
    folder = repository / "benchmarks"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    ours = [sentences.sentences(split) for split in sentences.SPLITS]
    assert done.stdout == f"{ours} {sentences.pairs()}\n"


def test_pairs_are_distinct_and_of_three_kinds(sentences: ModuleType) -> None:
    pairs = sentences.pairs(200)
    assert len(pairs) == len(set(pairs)) == 200
    for kind, count in (("paraphrase", 67), ("related", 67), ("unrelated", 66)):
        assert sum(pair.kind == kind for pair in pairs) == count
    assert all(pair.first != pair.second for pair in pairs)


def test_every_split_has_every_voice(speech_data: ModuleType) -> None:
    for split, count in COUNTS.items():
        clips = speech_data.clips(split)
        assert len({clip.path for clip in clips}) == count
        assert {clip.voice for clip in clips} == set(speech_data.VOICES)
        assert len({clip.words_per_minute for clip in clips}) > 10


def test_a_sentence_sounds_the_same_each_time(
    speech_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(speech_data, "FOLDER", tmp_path)
    first, second = speech_data.synthesized("calibration", 2)
    kept = first.path.read_bytes()
    assert len(kept) > 2 * 16_000
    assert kept != second.path.read_bytes()
    first.path.unlink()
    second.path.write_bytes(b"kept")
    speech_data.synthesized("calibration", 2)
    assert first.path.read_bytes() == kept
    assert second.path.read_bytes() == b"kept"
