"""Pretrained checkpoints: found, refused with what to install, and right about what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from girih.compiler.models.speech import EagerSpeech, compile_whisper
from girih.compiler.models.whisper import pretrained
from girih.runtime.errors import GirihError
from girih.runtime.transcription import (
    BASE,
    TINY_ENGLISH,
    Checkpoint,
    CompiledSpeech,
    Transcriber,
)

WORDS = "Every pattern on this wall was made from five simple tiles."


def test_missing_weights_are_told_with_what_installs_them() -> None:
    absent = replace(BASE, weights=(BASE.weights[0], ("girih_no_such_package", "model.bin")))
    with pytest.raises(GirihError, match=r"Whisper base's weights are not installed: make bench"):
        pretrained(absent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "sizes"), [(TINY_ENGLISH, (384, 4, 6, 51864)), (BASE, (512, 6, 8, 51865))]
)
def test_sizes_are_those_of_the_weights(
    checkpoint: Checkpoint, sizes: tuple[int, ...], repository: Path
) -> None:
    pytest.importorskip(checkpoint.weights[0][0])
    model = pretrained(checkpoint)
    found = model.config
    assert sizes == (
        found.d_model,
        found.decoder_layers,
        found.decoder_attention_heads,
        found.vocab_size,
    )
    # Wrong heads, start tokens or parts of the weights would say something else.
    transcript = Transcriber(EagerSpeech(model), checkpoint).transcribe(
        repository / "examples" / "data" / "demo.wav"
    )
    assert transcript.text == WORDS


@pytest.mark.slow
def test_base_in_int8_says_what_float32_says(repository: Path) -> None:
    pytest.importorskip(BASE.weights[0][0])
    data = repository / "examples" / "data"
    clips = sorted((data / "calibration").glob("*.wav"))
    program = compile_whisper(calibration_audio=clips, checkpoint=BASE)
    compiled = Transcriber(CompiledSpeech(program.session("iree")), BASE)
    assert compiled.transcribe(data / "demo.wav").text == WORDS
