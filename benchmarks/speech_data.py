"""Synthesizes the speech that compression is calibrated, searched and tested with.

    python benchmarks/speech_data.py

Writes 16 kHz mono WAV files to build/speech/, and build/speech/clips.tsv: file, split, number,
voice, words a minute, pitch, text. Clips that are there stay; the same bytes come out each time.
Needs the package espeakng-loader (make bench-setup).
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import random
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from espeak import RATE, say
from numpy.typing import NDArray
from rich.progress import track
from scipy.io import wavfile
from scipy.signal import resample_poly
from sentences import SPLITS, Split, sentences

from girih.runtime.audio import SAMPLE_RATE
from girih.runtime.errors import GirihError

FOLDER = Path(__file__).parents[1] / "build" / "speech"

# Voices, speeds and pitches that float32 tiny.en understands: a quarter of its words wrong at most;
# how often a model agrees with one that guesses says nothing. None has breath in it: the noise is
# another one each second.
VOICES = (
    "en-us",
    "en",
    "en-gb-x-rp+f4",
    "en+steph",
    "en-us-nyc",
    "en-gb-x-gbclan+m7",
    "en-us+f4",
    "en+m1",
)
_WORDS_PER_MINUTE = (135, 185)
_PITCHES = (25, 55)
_PEAK = 10 ** (-3 / 20)


@dataclass(frozen=True)
class Clip:
    """A sentence and how it is spoken."""

    split: Split
    number: int
    voice: str
    words_per_minute: int
    pitch: int
    text: str

    @property
    def path(self) -> Path:
        """Where its audio lies; another sentence or voice lies elsewhere."""
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:8]
        return FOLDER / f"{self.split}_{self.number:03}_{digest}.wav"


def clips(split: Split) -> list[Clip]:
    """The clips of a split, in order; their audio need not be there."""
    chance = random.Random(f"voices of {split}")
    return [
        Clip(
            split,
            number,
            VOICES[number % len(VOICES)],
            chance.randint(*_WORDS_PER_MINUTE),
            chance.randint(*_PITCHES),
            text,
        )
        for number, text in enumerate(sentences(split))
    ]


def synthesized(split: Split, count: int | None = None) -> list[Clip]:
    """The first clips of a split (all by default), with their audio.

    Raises `GirihError` where a clip is missing and there is no espeak-ng to speak it.
    """
    chosen = clips(split)[:count]
    missing = [clip for clip in chosen if not clip.path.exists()]
    if missing and importlib.util.find_spec("espeakng_loader") is None:
        raise GirihError("espeak-ng is not installed: make bench-setup")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for clip in track(missing, f"speak {split}", disable=not missing):
        samples = np.frombuffer(
            say(clip.text, clip.voice, clip.words_per_minute, clip.pitch), np.int16
        )
        # A file is there whole or not at all.
        unfinished = clip.path.with_suffix(".part")
        wavfile.write(unfinished, SAMPLE_RATE, _at_16_khz(samples))
        unfinished.rename(clip.path)
    return chosen


def _at_16_khz(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    common = int(np.gcd(RATE, SAMPLE_RATE))
    voice = resample_poly(samples.astype(np.float64), SAMPLE_RATE // common, RATE // common)
    return np.rint(voice * (_PEAK * 32767 / np.abs(voice).max())).astype(np.int16)


def main() -> None:
    """Speak every split and list the clips."""
    spoken = [clip for split in SPLITS for clip in synthesized(split)]
    with (FOLDER / "clips.tsv").open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["file", *(field.name for field in fields(Clip))])
        table.writerows([clip.path.name, *astuple(clip)] for clip in spoken)
    print(f"{len(spoken)} clips in {FOLDER}")


if __name__ == "__main__":
    main()
