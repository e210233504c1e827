"""Other quantizers are asked once and counted as they store; a failure is told in their words."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing._internal.two_tensor import TwoTensor

from girih.runtime.generation import Rules, generate

RULES = Rules(start=(5, 6), end=4, vocabulary=4, not_first=(0,), longest=12)
SAID = (1, 2, 3)

# Says 1, 2, 3 and the end, with recipe "slip" the end after 1; fails at a clip of zeros.
DRIVER = """
import os
import pathlib
import numpy as np
from whisper import Quantized, serve

def quantize(recipe, folder):
    assert (folder / "config.json").exists()
    if recipe == "killed":
        os.kill(os.getpid(), 9)
    if recipe == "none":
        raise ValueError("no such kernel")
    calls = pathlib.Path(__file__).with_suffix(".calls")
    follows = {6: 1, 1: 4 if recipe == "slip" else 2, 2: 3, 3: 4}

    def hear(features):
        if not features.any():
            raise ValueError("silence")
        with calls.open("a") as file:
            file.write("x")
        scale = np.float32(np.nan if recipe == "nan" else 5)
        return lambda tokens: scale * np.eye(7, dtype=np.float32)[follows.get(tokens[-1], 4)]

    return Quantized(1234, hear, "a note")

serve(quantize)
"""


class Clip:
    """A clip that is as loud as it is told."""

    text = "one two three"

    def __init__(self, folder: Path, loudness: float) -> None:
        self.path, self.loudness = folder / f"{loudness}.wav", loudness
        self.path.write_text(f"{loudness}")

    def features(self) -> Any:
        return np.full((1, 2, 3), self.loudness, np.float32)


@pytest.fixture
def quantizers(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from peers import environments, quantizers

    monkeypatch.setattr(quantizers, "DRIVERS", tmp_path)
    monkeypatch.setattr(quantizers, "FOLDER", tmp_path)
    monkeypatch.setattr(environments.Peer, "interpreter", lambda self: sys.executable)
    shared = repository / "benchmarks" / "peers" / "whisper.py"
    (tmp_path / "whisper.py").write_text(shared.read_text())
    (tmp_path / "whisper_fake.py").write_text(DRIVER)
    return quantizers


class Teacher:
    """Stands for `speech_models.Whisper`: 1, 2, 3 and the end, whatever it hears."""

    weights = ("digest",)
    checkpoint = SimpleNamespace(name="fake", rules=RULES)

    def __init__(self, logits: Any) -> None:
        self.logits = logits

    @property
    def model(self) -> Any:
        def save_pretrained(folder: Path) -> None:
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")

        return SimpleNamespace(save_pretrained=save_pretrained)

    def reference(self, clip: Clip) -> Any:
        from agreement import Reference

        return Reference(SAID, self.logits)


def ask(quantizers: ModuleType, recipe: str, clips: list[Clip], fresh: bool = False) -> Any:
    tool = quantizers.Quantizer("fake", "Fake", ("exact", "slip", "none"))
    logits = 5 * np.eye(7, dtype=np.float32)[[*SAID, RULES.end]]
    return quantizers.ask(tool, recipe, Teacher(logits), clips, fresh)


def test_an_answer_is_measured_and_remembered(quantizers: ModuleType, tmp_path: Path) -> None:
    clips = [Clip(tmp_path, 1), Clip(tmp_path, 2)]
    answer = ask(quantizers, "exact", clips[:1])
    assert (answer.bytes, answer.note, answer.why) == (1234, "a note", "")
    (exact,) = answer.clips.values()
    assert (exact.predictions, exact.agreed, exact.divergence, exact.tokens) == (4, 4, 0.0, SAID)
    answer = ask(quantizers, "exact", clips)
    assert len(answer.clips) == 2
    assert ask(quantizers, "exact", clips) == answer
    assert (tmp_path / "whisper_fake.calls").read_text() == "xx"
    ask(quantizers, "exact", clips, fresh=True)
    assert (tmp_path / "whisper_fake.calls").read_text() == "xxxx"


def test_a_slip_is_seen(quantizers: ModuleType, tmp_path: Path) -> None:
    (slip,) = ask(quantizers, "slip", [Clip(tmp_path, 1)]).clips.values()
    assert (slip.predictions, slip.agreed, slip.tokens) == (4, 3, (1,))
    assert slip.divergence > 1


def test_what_is_no_number_stays_none(quantizers: ModuleType, tmp_path: Path) -> None:
    for _ in range(2):
        (broken,) = ask(quantizers, "nan", [Clip(tmp_path, 1)]).clips.values()
        assert np.isnan(broken.divergence)


def test_a_refusal_is_told_in_the_tool_s_words(quantizers: ModuleType, tmp_path: Path) -> None:
    answer = ask(quantizers, "none", [Clip(tmp_path, 1)])
    assert (answer.bytes, answer.why) == (None, "ValueError: no such kernel")
    assert ask(quantizers, "killed", [Clip(tmp_path, 1)]).why == "killed by SIGKILL"
    # After the first clip: what was heard stays.
    answer = ask(quantizers, "exact", [Clip(tmp_path, 1), Clip(tmp_path, 0)])
    assert (len(answer.clips), answer.why) == (1, "ValueError: silence")


def test_a_changed_driver_is_asked_again(quantizers: ModuleType, tmp_path: Path) -> None:
    import kept

    ask(quantizers, "exact", [Clip(tmp_path, 1)])
    (tmp_path / "whisper_fake.py").write_text(DRIVER.replace("1234", "1235"))
    kept.file_digest.cache_clear()
    assert ask(quantizers, "exact", [Clip(tmp_path, 1)]).bytes == 1235


@pytest.fixture
def whisper(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from peers import whisper

    return whisper


@pytest.mark.parametrize("seed", range(5))
def test_a_driver_listens_by_girih_s_rules(whisper: ModuleType, seed: int) -> None:
    # Some say the end, some go on until the longest.
    table = np.random.default_rng(seed).normal(size=(7, 7)).astype(np.float32)
    table[:, RULES.end] += seed - 2
    prefixes: list[tuple[int, ...]] = []

    def row(tokens: tuple[int, ...]) -> Any:
        prefixes.append(tokens)
        return table[tokens[-1]]

    rules = {name: getattr(RULES, name) for name in RULES.__dataclass_fields__}
    forced, said = whisper.listen(row, rules, [1, 2])
    assert said == generate(lambda token, position: table[token], RULES)
    assert np.array_equal(forced, table[[6, 1, 2]])
    assert len(set(prefixes)) == len(prefixes)


def test_what_is_shared_counts_once_and_what_is_packed_as_it_is(whisper: ModuleType) -> None:
    model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8, bias=False))
    assert whisper.stored_bytes(model) == 2 * 4 * 8 * 4
    model[1].weight = model[0].weight
    assert whisper.stored_bytes(model) == 4 * 8 * 4
    # A tensor made of two, as a quantized one is of integers and scales.
    packed = TwoTensor(torch.zeros(8, 4, dtype=torch.int8), torch.zeros(8, 4, dtype=torch.int8))
    model[1].weight = nn.Parameter(packed, requires_grad=False)
    model.register_buffer("scale", torch.zeros(8))
    assert whisper.stored_bytes(model) == 4 * 8 * 4 + 2 * 8 * 4 + 4 * 8


def test_a_row_shows_what_is_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from compression import HEADER, Cost, Row
    from speech_models import Score

    score = Score(2, 50, 0.98, 0.0125, 0.5, 0.1, 0.2)
    costs = {"encode": Cost(20_000_000, 0.025), "decode": Cost(1_500_000, 0.006)}
    full = Row("girih, w8a8", 40_000_000, score, **costs).cells()
    assert full == (
        "girih, w8a8", "40.00", "98.00%", "0.01250", "10.00%", "50%",
        "20.000", "25.000", "1.500", "6.000", "",
    )  # fmt: skip
    assert Row("other", why="no kernel").cells() == ("other", *"-" * 9, "no kernel")
    assert len(full) == len(HEADER)
