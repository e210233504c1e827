"""Vision-language models whose images come as rows of patches, with a grid for each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf

from tests.models.families.text import LLAMA
from tests.models.families.vision_language import vision_language
from tests.models.family import Cell, Family, ids, noise, seeded

IMAGE, VIDEO, START, END = 98, 97, 96, 95
"""Tokens: one image feature, one video feature, the marks around them."""
GRIDS = torch.tensor([[1, 4, 4], [1, 4, 8]])
"""Two images: frames, rows and columns of patches."""
TOKENS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
TEXT = {
    **LLAMA,
    "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
}
PATCHES = int(GRIDS.prod(-1).sum())


def _build(config: Any, model_class: type[Any]) -> Mapping[str, Cell]:
    model = seeded(model_class, config)
    patch = 3 * 2 * config.vision_config.patch_size**2
    vision = {"pixel_values": noise(PATCHES, patch), "image_grid_thw": GRIDS}
    prompt = ids(1, START, *[IMAGE] * 4, END, 5, START, *[IMAGE] * 8, END, 7, 9)
    return vision_language(
        model, vision, input_ids=prompt, mm_token_type_ids=(prompt == IMAGE).long()
    )


def qwen2_vl() -> Mapping[str, Cell]:
    config = hf.Qwen2VLConfig(
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 4,
            "patch_size": 4,
        },
        text_config=TEXT,
        **TOKENS,
    )
    return _build(config, hf.Qwen2VLForConditionalGeneration)


def qwen2_5_vl() -> Mapping[str, Cell]:
    """Layer 0 attends in windows of 2x2 merged patches, layer 1 in whole images."""
    config = hf.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 4,
            "window_size": 16,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config=TEXT,
        **TOKENS,
    )
    return _build(config, hf.Qwen2_5_VLForConditionalGeneration)


def qwen3_vl() -> Mapping[str, Cell]:
    config = hf.Qwen3VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config={**TEXT, "head_dim": 8},
        **TOKENS,
    )
    return _build(config, hf.Qwen3VLForConditionalGeneration)


FAMILIES = (
    Family("Qwen2-VL", qwen2_vl, ci=True, w8a8=True),
    Family("Qwen2.5-VL", qwen2_5_vl, w8a8=True),
    Family("Qwen3-VL", qwen3_vl, w8a8=True),
)
