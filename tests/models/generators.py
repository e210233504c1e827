"""Small models that generate text, with a prompt each: what `compile_generator` is tested on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf

from tests.models.families.text import LLAMA
from tests.models.families.vision_language import CLIP_VISION, IMAGE
from tests.models.family import ids, noise, seeded

Example = tuple[Any, Mapping[str, torch.Tensor]]


def llava() -> Example:
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP_VISION),
        text_config=hf.LlamaConfig(**LLAMA),
        image_token_id=IMAGE,
    )
    model = seeded(hf.LlavaForConditionalGeneration, config)
    return model, {"input_ids": ids(1, 5, *[IMAGE] * 4, 7, 9), "pixel_values": noise(1, 3, 28, 28)}


def smolvlm() -> Example:
    config = hf.SmolVLMConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config={"model_type": "llama", **LLAMA},
        image_token_id=IMAGE,
        scale_factor=2,
    )
    model = seeded(hf.SmolVLMForConditionalGeneration, config)
    tokens = ids(1, 5, *[IMAGE] * 8, 7, 9)
    return model, {"input_ids": tokens, "pixel_values": noise(1, 2, 3, 32, 32)}


def qwen2_vl() -> Example:
    config = hf.Qwen2VLConfig(
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        text_config={
            **LLAMA,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [1, 1, 2],
                "rope_theta": 10000.0,
            },
        },
        image_token_id=IMAGE,
        video_token_id=97,
        vision_start_token_id=96,
    )
    model = seeded(hf.Qwen2VLForConditionalGeneration, config)
    tokens = ids(1, 5, 96, *[IMAGE] * 6, 7, 9)
    return model, {
        "input_ids": tokens,
        "pixel_values": noise(24, 96),
        "image_grid_thw": torch.tensor([[1, 4, 6]]),
        "mm_token_type_ids": (tokens == IMAGE).int(),
    }


def whisper() -> Example:
    config = hf.WhisperConfig(
        vocab_size=99,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        # Wide enough that the tokens vary.
        init_std=0.3,
    )
    model = seeded(hf.WhisperForConditionalGeneration, config)
    return model, {"input_features": noise(1, 8, 40)}


EXAMPLES = {"LLaVA": llava, "SmolVLM": smolvlm, "Qwen2-VL": qwen2_vl, "Whisper": whisper}
