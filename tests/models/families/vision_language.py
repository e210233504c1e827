"""Vision-language models whose image features take the place of image tokens in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from tests.models.families.text import LLAMA
from tests.models.family import Call, Cell, Family, decode_cell, ids, noise, seeded

IMAGE = 98
"""The token that stands for one image feature."""
CLIP_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
    "projection_dim": 32,
}
SIGLIP_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}


def tower_cell(model: hf.PreTrainedModel, **inputs: Tensor) -> Cell:
    """The image features, as a user asks for them."""

    def features(m: Any, *values: Tensor) -> Any:
        return m.get_image_features(**dict(zip(inputs, values, strict=True))).pooler_output

    return Cell(Call(model, features), tuple(inputs.values()))


def prefill_cell(model: hf.PreTrainedModel, **inputs: Tensor) -> Cell:
    """The logits of a prompt with images."""

    def logits(m: Any, *values: Tensor) -> Tensor:
        return m(**dict(zip(inputs, values, strict=True)), use_cache=False).logits

    return Cell(Call(model, logits), tuple(inputs.values()))


def vision_language(
    model: hf.PreTrainedModel, vision: Mapping[str, Tensor], **prompt: Tensor
) -> Mapping[str, Cell]:
    """Tower, prefill and decode of a model; `vision` is what the tower takes, also in a prefill."""
    return {
        "tower": tower_cell(model, **vision),
        "prefill": prefill_cell(model, **prompt, **vision),
        "decode": decode_cell(model, {**prompt, **vision}),
    }


def llava() -> Mapping[str, Cell]:
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP_VISION),
        text_config=hf.LlamaConfig(**LLAMA),
        image_token_id=IMAGE,
    )
    model = seeded(hf.LlavaForConditionalGeneration, config)
    prompt = ids(1, 5, *[IMAGE] * 4, 7, 9)
    return vision_language(model, {"pixel_values": noise(1, 3, 28, 28)}, input_ids=prompt)


def paligemma() -> Mapping[str, Cell]:
    config = hf.PaliGemmaConfig(
        vision_config=hf.SiglipVisionConfig(
            **SIGLIP_VISION, vision_use_head=False, projection_dim=32
        ),
        text_config=hf.GemmaConfig(**LLAMA, head_dim=8),
        image_token_index=IMAGE,
        projection_dim=32,
        hidden_size=32,
        vocab_size=99,
    )
    model = seeded(hf.PaliGemmaForConditionalGeneration, config)
    prompt = ids(*[IMAGE] * 4, 1, 5, 7, 9)
    return vision_language(model, {"pixel_values": noise(1, 3, 28, 28)}, input_ids=prompt)


def gemma3() -> Mapping[str, Cell]:
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(
            **{**SIGLIP_VISION, "image_size": 56}, vision_use_head=False
        ),
        text_config=hf.Gemma3TextConfig(
            **LLAMA,
            head_dim=8,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
        ),
        image_token_id=IMAGE,
        mm_tokens_per_image=4,
    )
    model = seeded(hf.Gemma3ForConditionalGeneration, config)
    # Zeros until it is trained, which would make every feature zero.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.1)
    prompt = ids(1, 5, *[IMAGE] * 4, 7, 9)
    return vision_language(
        model,
        {"pixel_values": noise(1, 3, 56, 56)},
        input_ids=prompt,
        token_type_ids=(prompt == IMAGE).long(),
    )


def internvl() -> Mapping[str, Cell]:
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=[28, 28],
            patch_size=[7, 7],
        ),
        text_config=hf.Qwen2Config(**LLAMA),
        image_token_id=IMAGE,
        image_seq_length=4,
    )
    model = seeded(hf.InternVLForConditionalGeneration, config)
    prompt = ids(1, 5, *[IMAGE] * 4, 7, 9)
    return vision_language(model, {"pixel_values": noise(1, 3, 28, 28)}, input_ids=prompt)


def chameleon() -> Mapping[str, Cell]:
    config = hf.ChameleonConfig(
        **{**LLAMA, "num_key_value_heads": 4},
        vq_config={
            "embed_dim": 16,
            "num_embeddings": 32,
            "latent_channels": 16,
            "resolution": 16,
            "base_channels": 32,
            "channel_multiplier": [1, 2],
            "num_res_blocks": 1,
        },
        vocabulary_map={
            "<image>": IMAGE,
            # The image codes are written with letters for digits.
            **{f"IMGIMG{chr(65 + i // 10)}{chr(65 + i % 10)}Z": i + 10 for i in range(32)},
        },
    )
    model = seeded(hf.ChameleonForConditionalGeneration, config)
    prompt = ids(1, 5, *[IMAGE] * 64, 7, 9)
    return vision_language(model, {"pixel_values": noise(1, 3, 16, 16)}, input_ids=prompt)


FAMILIES = (
    Family("LLaVA", llava, ci=True, w8a8=True),
    Family("PaliGemma", paligemma, w8a8=True),
    Family("Gemma3", gemma3, ci=True, w8a8=True),
    Family("InternVL", internvl, w8a8=True),
    Family("Chameleon", chameleon, w8a8=True),
)
