"""Vision-language models that cut images of any size into tiles: the sizes are inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import transformers as hf

from tests.models.families.text import LLAMA
from tests.models.families.vision_language import (
    CLIP_VISION,
    IMAGE,
    SIGLIP_VISION,
    vision_language,
)
from tests.models.family import Cell, Family, ids, noise, seeded

SIZES = torch.tensor([[28, 56]])
"""Height and width of the one image, before it was cut into tiles."""


def llava_next() -> Mapping[str, Cell]:
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP_VISION),
        text_config=hf.LlamaConfig(**LLAMA),
        image_token_index=IMAGE,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
    )
    model = seeded(hf.LlavaNextForConditionalGeneration, config)
    vision = {"pixel_values": noise(1, 3, 3, 28, 28), "image_sizes": SIZES}
    # The whole image's 4 features, then the tiles' 2 rows of 4, each with a new-line feature.
    prompt = ids(1, 5, *[IMAGE] * (4 + 2 * 5), 7, 9)
    return vision_language(model, vision, input_ids=prompt)


def llava_onevision() -> Mapping[str, Cell]:
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**SIGLIP_VISION, vision_use_head=False),
        text_config=hf.Qwen2Config(**LLAMA),
        image_token_index=IMAGE,
        video_token_index=97,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
    )
    model = seeded(hf.LlavaOnevisionForConditionalGeneration, config)
    vision = {"pixel_values": noise(1, 3, 3, 28, 28), "image_sizes": SIZES}
    prompt = ids(1, 5, *[IMAGE] * (4 + 2 * 5), 7, 9)
    return vision_language(model, vision, input_ids=prompt)


FAMILIES = (
    Family("LLaVA-NeXT", llava_next, w8a8=True),
    Family("LLaVA-OneVision", llava_onevision, w8a8=True),
)
