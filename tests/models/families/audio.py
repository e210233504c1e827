"""Models that listen: encoders of sound, and a language model that takes sound in its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from tests.models.families.text import LLAMA
from tests.models.families.vision_language import prefill_cell
from tests.models.family import Call, Cell, Family, decode_cell, ids, noise, seeded

AUDIO = 98
"""The token that stands for one feature of sound."""


def wav2vec2() -> Mapping[str, Cell]:
    config = hf.Wav2Vec2Config(
        vocab_size=32,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(32, 32, 32),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 3),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = seeded(hf.Wav2Vec2ForCTC, config)
    return {"tower": Cell(Call(model, lambda m, sound: m(sound).logits), (noise(1, 800),))}


def ast() -> Mapping[str, Cell]:
    config = hf.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        patch_size=4,
        frequency_stride=3,
        time_stride=3,
        max_length=32,
        num_mel_bins=16,
        num_labels=7,
    )
    model = seeded(hf.ASTForAudioClassification, config)
    return {"tower": Cell(Call(model, lambda m, mels: m(mels).logits), (noise(1, 32, 16),))}


def qwen2_audio() -> Mapping[str, Cell]:
    """Sound of 34 of 40 frames: 17 after the convolutions, 8 after pooling."""
    config = hf.Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 8,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "max_source_positions": 20,
        },
        text_config={"model_type": "qwen2", **LLAMA},
        audio_token_index=AUDIO,
    )
    model = seeded(hf.Qwen2AudioForConditionalGeneration, config)
    shown = (torch.arange(40) < 34).long()[None]
    sound = noise(1, 8, 40)
    tokens = ids(1, 5, *[AUDIO] * 8, 7, 9)
    prompt = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "input_features": sound,
        "feature_attention_mask": shown,
    }

    def tower(m: Any, sound: Tensor) -> Tensor:
        heard = m.model.audio_tower(sound).last_hidden_state
        return m.model.multi_modal_projector(heard)

    return {
        "tower": Cell(Call(model, tower), (sound,)),
        "prefill": prefill_cell(model, **prompt),
        "decode": decode_cell(model, prompt),
    }


FAMILIES = (
    Family("wav2vec2", wav2vec2, cells=("tower",), ci=True, w8a8=True),
    Family("AST", ast, cells=("tower",), w8a8=True),
    Family("Qwen2-Audio", qwen2_audio, w8a8=True),
)
