"""Audio files of any rate and channel count, windows, and features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from girih.runtime.audio import SAMPLE_RATE, log_mel, read_audio, windows
from girih.runtime.errors import InputError

soundfile = pytest.importorskip("soundfile")


def tone(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_any_rate_becomes_the_same_tone(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate), rate, subtype="FLOAT")
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - SAMPLE_RATE // 2) <= 1
    # Away from the ends, where the filter sees silence.
    middle = slice(1000, 7000)
    assert np.abs(samples - tone(SAMPLE_RATE)[: len(samples)])[middle].max() < 0.01


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "channels.wav"
    left = tone(SAMPLE_RATE)
    all_channels = np.zeros((len(left), channels))
    all_channels[:, 0] = left
    soundfile.write(path, all_channels, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path), left / channels, atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "DOUBLE"])
def test_sample_formats(subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "format.wav"
    soundfile.write(path, tone(SAMPLE_RATE), SAMPLE_RATE, subtype=subtype)
    np.testing.assert_allclose(read_audio(path), tone(SAMPLE_RATE), atol=0.01)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such audio file"):
        read_audio(tmp_path / "nothing.wav")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such audio file"):
        read_audio(tmp_path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all\n" * 10])
def test_not_audio(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot read audio file"):
        read_audio(path)


def test_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), SAMPLE_RATE)
    with pytest.raises(InputError, match="holds no samples"):
        read_audio(path)


@pytest.mark.parametrize(
    ("seconds", "lengths"), [(1, [1]), (30, [30]), (31, [30, 1]), (90, [30, 30, 30])]
)
def test_windows(seconds: int, lengths: list[int]) -> None:
    samples = np.arange(seconds * SAMPLE_RATE, dtype=np.float32)
    parts = windows(samples)
    assert [len(part) for part in parts] == [length * SAMPLE_RATE for length in lengths]
    np.testing.assert_array_equal(np.concatenate(parts), samples)


def test_features_have_the_shape_of_one_window() -> None:
    pytest.importorskip("transformers")
    features = log_mel(tone(SAMPLE_RATE, seconds=1).astype(np.float32))
    assert features.shape == (1, 80, 3000)
    assert features.dtype == np.float32
    # The tone's band is louder than the others while it sounds, and nothing is beyond it.
    assert features[0, :, 50].argmax() < 20
    assert np.ptp(features[0, :, 1000:]) == 0
