"""Whisper, compiled: entry points, states and calibration in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from girih.compiler.compilation import compile
from girih.compiler.entries import Entry
from girih.compiler.episodes import Call, Episode
from girih.compiler.models.whisper import WhisperDecode, WhisperEncode, pretrained
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Recipe
from girih.runtime.audio import log_mel, read_audio, windows
from girih.runtime.errors import CompilationError
from girih.runtime.generation import generate
from girih.runtime.target import Target
from girih.runtime.transcription import TINY_ENGLISH, Checkpoint

Array = NDArray[Any]
Inputs = tuple[Tensor, ...]

_CALIBRATED_CALLS = 64
"""The first of an episode: of a model that goes round in circles, a few turns are enough."""


class EagerSpeech:
    """The same model in PyTorch, float32: a `girih.runtime.transcription.SpeechModel`."""

    def __init__(self, model: Any | None = None) -> None:
        self.model = pretrained() if model is None else model
        self.encoder = WhisperEncode(self.model).eval()
        self.decoder = WhisperDecode(self.model).eval()
        self._own, self._cross = _caches(self.model)

    @torch.no_grad()
    def encode(self, features: Array) -> None:
        self._cross = self.encoder(torch.from_numpy(features))
        self._own = tuple(torch.zeros_like(cache) for cache in self._own)

    @torch.no_grad()
    def decode(self, token: int, position: int) -> Array:
        inputs = (torch.tensor([[token]]), torch.tensor([position]), *self._own, *self._cross)
        logits, *own = self.decoder(*inputs)
        self._own = tuple(own)
        return logits.reshape(-1).numpy()


def whisper_entries(model: Any) -> dict[str, Entry]:
    """``encode`` and ``decode`` of a Hugging Face Whisper, their caches as states.

    ``encode`` writes the states ``cross.0`` ... (keys and values of each layer), which ``decode``
    reads beside ``self.0`` ..., which it also writes.
    """
    config = model.config
    own, cross = _caches(model)
    count = len(own)
    features = torch.zeros(1, config.num_mel_bins, 2 * config.max_source_positions)
    token, position = torch.tensor([[config.decoder_start_token_id]]), torch.tensor([0])
    return {
        "encode": Entry(
            WhisperEncode(model).eval(),
            (features,),
            writes={index: f"cross.{index}" for index in range(count)},
        ),
        "decode": Entry(
            WhisperDecode(model).eval(),
            (token, position, *own, *cross),
            reads={2 + index: f"self.{index}" for index in range(count)}
            | {2 + count + index: f"cross.{index}" for index in range(count)},
            writes={1 + index: f"self.{index}" for index in range(count)},
        ),
    }


def whisper_episodes(
    model: Any, audio: Sequence[str | Path], checkpoint: Checkpoint = TINY_ENGLISH
) -> list[Episode]:
    """Every window of the clips: its features, then what the float model says of it, by tokens.

    Calls of the entries of `whisper_entries`; the transcript is the float model's own, greedily.
    """
    if not audio:
        raise CompilationError("episodes need at least one audio clip")
    eager = EagerSpeech(model)
    return [
        _episode(eager, log_mel(window), checkpoint)
        for path in audio
        for window in windows(read_audio(path))
    ]


def _episode(eager: EagerSpeech, features: Array, checkpoint: Checkpoint) -> Episode:
    calls = [Call("encode", (torch.from_numpy(features),))]
    eager.encode(features)

    def step(token: int, position: int) -> Array:
        calls.append(Call("decode", (torch.tensor([[token]]), torch.tensor([position]))))
        return eager.decode(token, position)

    generate(step, checkpoint.rules)
    return tuple(calls)


def compile_whisper(
    target: str | Path | Target = "edge",
    recipe: str | Path | Recipe = "w8a8",
    *,
    calibration_audio: Sequence[str | Path],
    checkpoint: Checkpoint = TINY_ENGLISH,
    model: Any | None = None,
    dump_ir: str | Path | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    strict: bool = False,
    mapping: Path | None = None,
) -> CompiledProgram:
    """Compile a Whisper to a program with the entries ``encode`` and ``decode``.

    `model` stands in for the checkpoint's weights; the checkpoint's rules say how calibration
    decodes. Wrap a session of the program in `girih.runtime.transcription.CompiledSpeech` to
    transcribe. Ranges of activations come from `calibration_audio`: a handful of varied clips.

    Raises `GirihError`: no weights, no audio, or a target or recipe that can not be used.
    """
    progress("read weights")
    model = pretrained(checkpoint) if model is None else model
    calibration = None
    if Recipe.load(recipe).quantized:
        progress(f"listen to {len(calibration_audio)} calibration clips")
        episodes = whisper_episodes(model, calibration_audio, checkpoint)
        calibration = [episode[:_CALIBRATED_CALLS] for episode in episodes]
    return compile(
        whisper_entries(model),
        target=target,
        recipe=recipe,
        calibration=calibration,
        dump_ir=dump_ir,
        progress=progress,
        strict=strict,
        mapping=mapping,
    )


def _caches(model: Any) -> tuple[Inputs, Inputs]:
    """Empty self-attention and cross-attention caches: keys and values of each layer."""
    config = model.config
    count = 2 * config.decoder_layers
    own = torch.zeros(1, config.max_target_positions, config.d_model)
    cross = torch.zeros(1, config.max_source_positions, config.d_model)
    return (own,) * count, (cross,) * count
