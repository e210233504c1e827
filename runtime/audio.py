"""Audio files to the log-mel features that Whisper reads."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from girih.runtime.errors import InputError

SAMPLE_RATE = 16_000
WINDOW_SECONDS = 30


def read_audio(path: str | Path) -> NDArray[np.float32]:
    """Samples of an audio file as mono at 16 kHz, in [-1, 1].

    Any rate and channel count that libsndfile reads; channels are averaged, the rate is converted
    by a polyphase filter. Raises `InputError` for a missing, unreadable or empty file.
    """
    soundfile = importlib.import_module("soundfile")
    if not Path(path).is_file():
        raise InputError(f"no such audio file: {path}")
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"cannot read audio file {path}: {error}") from error
    if not len(samples):
        raise InputError(f"audio file {path} holds no samples")
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        common = math.gcd(rate, SAMPLE_RATE)
        mono = signal.resample_poly(mono, SAMPLE_RATE // common, rate // common)
    return np.asarray(mono, np.float32)


def windows(samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Consecutive windows of at most 30 s; a clip shorter than that is one window."""
    length = SAMPLE_RATE * WINDOW_SECONDS
    return [samples[start : start + length] for start in range(0, len(samples), length)]


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel features (1, 80, 3000) of one window, by the model's own feature extractor."""
    transformers: Any = importlib.import_module("transformers")
    extractor = transformers.WhisperFeatureExtractor()
    features = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")
    return np.asarray(features.input_features, np.float32)
