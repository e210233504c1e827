"""Vision-language models whose image features take the place of image tokens in the prompt."""

from __future__ import annotations

from collections.abc import Mapping

import transformers as hf

from tests.models.families.text import LLAMA
from tests.models.family import Call, Cell, Family, decode_cell, ids, noise, seeded

IMAGE = 98
"""The token that stands for one image feature."""
CLIP_VISION = dict(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    image_size=28,
    patch_size=14,
    projection_dim=32,
)


def llava() -> Mapping[str, Cell]:
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP_VISION),
        text_config=hf.LlamaConfig(**LLAMA),
        image_token_id=IMAGE,
    )
    model = seeded(hf.LlavaForConditionalGeneration, config)
    prompt, pixels = ids(1, 5, *[IMAGE] * 4, 7, 9), noise(1, 3, 28, 28)
    return {
        "tower": Cell(
            Call(model, lambda m, pixels: m.get_image_features(pixels).pooler_output), (pixels,)
        ),
        "prefill": Cell(
            Call(
                model,
                lambda m, tokens, pixels: (
                    m(input_ids=tokens, pixel_values=pixels, use_cache=False).logits
                ),
            ),
            (prompt, pixels),
        ),
        "decode": decode_cell(model, {"input_ids": prompt, "pixel_values": pixels}),
    }


FAMILIES = (Family("LLaVA", llava, ci=True),)
