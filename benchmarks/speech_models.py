"""Whisper in float32 and compiled, measured clip by clip; what was measured once is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from agreement import (
    Agreement,
    CompiledLogits,
    Logits,
    Reference,
    Stepwise,
    agreement,
    reference,
    word_error_rate,
)
from kept import ROOT, compiler_digest, file_digest, place
from numpy.typing import NDArray
from rich.progress import track
from sentences import Split
from speech_data import synthesized
from tokenizers import Tokenizer

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.artifact import load
from girih.compiler.files import replacing
from girih.compiler.models.speech import (
    EagerSpeech,
    compile_whisper,
    whisper_entries,
    whisper_episodes,
)
from girih.compiler.models.whisper import pretrained
from girih.compiler.recipe import Recipe
from girih.runtime.audio import log_mel, read_audio, windows
from girih.runtime.transcription import Checkpoint

LEARNT: tuple[Split, ...] = ("calibration", "search")
"""Splits that adaptation learns from."""
SHARED = ROOT.parent / "shared" / "data" / "speech"


@dataclass(frozen=True)
class Spoken:
    """An audio file and what is said in it."""

    path: Path
    text: str

    def features(self) -> NDArray[Any]:
        """Log-mel features of its first window."""
        return log_mel(windows(read_audio(self.path))[0])


def test_clips(count: int) -> list[Spoken]:
    """The first clips of the test split, and the real speech of ../shared where it is."""
    spoken = [Spoken(clip.path, clip.text) for clip in synthesized("test", count)]
    transcripts = SHARED / "transcripts.tsv"
    if transcripts.is_file():
        lines = transcripts.read_text().splitlines()
        spoken += [Spoken(SHARED / name, text) for name, text in (x.split("\t") for x in lines)]
    return spoken


@dataclass(frozen=True)
class Score:
    """A model on a set of clips; rates are 0 to 1, the divergence in nats per token."""

    clips: int
    tokens: int
    agreement: float
    divergence: float
    same_transcripts: float
    word_error_rate: float
    float_word_error_rate: float


class Whisper:
    """A checkpoint: what float32 says of a clip, and what anything else makes of the same."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.weights = [file_digest(path) for path in checkpoint.weight_files()]

    @cached_property
    def model(self) -> Any:
        """The model in PyTorch, float32."""
        return pretrained(self.checkpoint)

    @cached_property
    def float32(self) -> Logits:
        """The float32 model's logits."""
        return Stepwise(EagerSpeech(self.model))

    def reference(self, clip: Spoken) -> Reference:
        """What float32 says of a clip."""
        rules = self.checkpoint.rules
        path = place("references", ".npz", self.weights, rules, file_digest(clip.path))
        if path.exists():
            with np.load(path) as kept:
                return Reference(tuple(kept["tokens"].tolist()), kept["logits"])
        found = reference(self.float32, clip.features(), rules)
        with replacing(path) as file:
            np.savez(file, tokens=found.tokens, logits=found.logits)
        return found

    def agreement(self, name: str, model: Callable[[], Logits], clip: Spoken) -> Agreement:
        """How a model, made where it is needed, agrees with float32 on a clip.

        `name` tells the model from all others, and from itself after a change.
        """
        rules = self.checkpoint.rules
        path = place("results", ".json", name, self.weights, rules, file_digest(clip.path))
        if path.exists():
            kept = json.loads(path.read_text())
            return Agreement(**kept | {"tokens": tuple(kept["tokens"])})
        found = agreement(model(), clip.features(), rules, self.reference(clip))
        with replacing(path) as file:
            file.write(json.dumps(asdict(found)).encode())
        return found

    def score(self, name: str, model: Callable[[], Logits], clips: Sequence[Spoken]) -> Score:
        """A model on many clips, with a progress bar."""
        title = f"{self.checkpoint.name}: compare"
        found = [self.agreement(name, model, clip) for clip in track(clips, title)]
        return self.summary(found, clips)

    def summary(self, found: Sequence[Agreement], clips: Sequence[Spoken]) -> Score:
        """What was found clip by clip as one score."""
        expected = [self.reference(clip).tokens for clip in clips]
        heard, originally = self._texts([each.tokens for each in found]), self._texts(expected)
        spoken = [clip.text for clip in clips]
        tokens = sum(each.predictions for each in found)
        same = sum(one.tokens == other for one, other in zip(found, expected, strict=True))
        return Score(
            clips=len(clips),
            tokens=tokens,
            agreement=sum(each.agreed for each in found) / tokens,
            divergence=sum(each.divergence for each in found) / tokens,
            same_transcripts=same / len(clips),
            word_error_rate=word_error_rate(zip(spoken, heard, strict=True)),
            float_word_error_rate=word_error_rate(zip(spoken, originally, strict=True)),
        )

    def compiled(self, recipe: str | Recipe, progress: Callable[[str], None]) -> Path:
        """The artifact of this checkpoint, calibrated with the whole calibration split."""
        audio = [clip.path for clip in synthesized("calibration")]
        heard = [file_digest(path) for path in audio]
        settings = Recipe.load(recipe)
        path = place("programs", ".girih", self.weights, settings, heard, compiler_digest())
        if not path.exists():
            compile_whisper(
                recipe=settings,
                calibration_audio=audio,
                checkpoint=self.checkpoint,
                model=self.model,
                progress=progress,
            ).save(path)
        return path

    def adapted(
        self, recipe: str | Recipe, settings: Mapping[str, Any], progress: Callable[[str], None]
    ) -> Path:
        """The artifact of this checkpoint trained at its integers; one that was stopped goes on.

        Ranges come from the calibration split, training from it and the search split.
        """
        audio = [clip.path for split in LEARNT for clip in synthesized(split)]
        chosen = Recipe.load(recipe)
        heard = [file_digest(path) for path in audio]
        inputs = (self.weights, chosen, heard, dict(settings), compiler_digest())
        path = place("adapted", ".girih", *inputs)
        if not path.exists():
            progress(f"listen to {len(audio)} clips")
            episodes = whisper_episodes(self.model, audio, self.checkpoint)
            adapt(
                whisper_entries(self.model),
                episodes=episodes,
                calibration=episodes[: len(synthesized("calibration"))],
                folder=place("adaptations", "", *inputs),
                recipe=chosen,
                progress=progress,
                **settings,
            ).save(path)
        return path

    def _texts(self, transcripts: Sequence[Sequence[int]]) -> list[str]:
        tokenizer = Tokenizer.from_file(str(self.checkpoint.tokenizer_file()))
        return [tokenizer.decode(list(tokens)) for tokens in transcripts]


@cache
def logits_of(artifact: Path) -> Logits:
    """A compiled program on IREE."""
    return Stepwise(CompiledLogits(load(artifact).session("iree")))
