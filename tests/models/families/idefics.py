"""Vision-language models that drop padding images: Idefics3 and SmolVLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers as hf

from tests.models.families.text import LLAMA
from tests.models.families.vision_language import IMAGE, vision_language
from tests.models.family import Cell, Family, ids, noise, seeded

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}


def _build(config_class: type[Any], model_class: type[Any]) -> Mapping[str, Cell]:
    config = config_class(
        vision_config=VISION,
        text_config=hf.LlamaConfig(**LLAMA),
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=0,
    )
    model = seeded(model_class, config)
    # Two images of 4 features each.
    prompt = ids(1, 5, *[IMAGE] * 8, 7, 9)
    return vision_language(model, {"pixel_values": noise(1, 2, 3, 28, 28)}, input_ids=prompt)


def idefics3() -> Mapping[str, Cell]:
    return _build(hf.Idefics3Config, hf.Idefics3ForConditionalGeneration)


def smolvlm() -> Mapping[str, Cell]:
    return _build(hf.SmolVLMConfig, hf.SmolVLMForConditionalGeneration)


FAMILIES = (
    Family("Idefics3", idefics3, w8a8=True),
    Family("SmolVLM", smolvlm, ci=True, w8a8=True),
)
