"""Vision-language models with ways of their own: cross-attention layers, many modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn
from transformers.cache_utils import Cache

from girih.compiler.models.static_cache import FunctionalLayer, empty_rows, rows_of
from tests.models.families.text import LLAMA
from tests.models.families.vision_language import prefill_cell
from tests.models.family import CACHE_LENGTH, Call, Cell, Family, decode_cell, ids, noise, seeded

IMAGE = 98


class MllamaDecode(nn.Module):
    """One step: layer 0 attends to the text, layer 1 to the image, whose rows stay as they are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, position: Tensor, *rows: Tensor) -> Any:
        own = FunctionalLayer(rows[0], rows[1], position)
        image = FunctionalLayer(rows[2], rows[3], position)
        output = self.model(
            input_ids=token,
            position_ids=position[None],
            past_key_values=Cache(layers=[own, image]),
            use_cache=True,
        )
        return output.logits, *own.rows


def mllama() -> Mapping[str, Cell]:
    config = hf.MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "intermediate_size": 64,
            "image_size": 28,
            "patch_size": 14,
            "max_num_tiles": 2,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [1],
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
        },
        text_config={
            **LLAMA,
            "cross_attention_layers": [1],
            "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        image_token_index=IMAGE,
    )
    model = seeded(hf.MllamaForConditionalGeneration, config)
    # The gates of the attention to the image are zero until they are trained.
    with torch.no_grad():
        for name, gate in model.named_parameters():
            if "gate" in name and gate.numel() == 1:
                gate.fill_(0.5)
    tokens = ids(IMAGE, 1, 5, 7, 9)
    vision = {
        "pixel_values": noise(1, 1, 2, 3, 28, 28),
        "aspect_ratio_ids": torch.tensor([[2]]),
        "aspect_ratio_mask": torch.tensor([[[1, 1]]]),
    }
    prompt = {
        "input_ids": tokens,
        **vision,
        "cross_attention_mask": torch.ones(1, 5, 1, 2, dtype=torch.int64),
    }
    with torch.no_grad():
        cache = model(**prompt, use_cache=True).past_key_values
    own, image = rows_of(cache)[:2], rows_of(cache)[2:]
    rows = empty_rows(own, CACHE_LENGTH)
    for empty, old in zip(rows, own, strict=True):
        empty[:, : tokens.shape[1]] = old
    step = (torch.tensor([[3]]), torch.tensor([tokens.shape[1]]), *rows, *image)

    def tower(m: Any, *values: Tensor) -> Tensor:
        return m.model.vision_model(**dict(zip(vision, values, strict=True))).last_hidden_state

    return {
        "tower": Cell(Call(model, tower), tuple(vision.values())),
        "prefill": prefill_cell(model, **prompt),
        "decode": Cell(MllamaDecode(model), step),
    }


def phi4_multimodal() -> Mapping[str, Cell]:
    config = hf.Phi4MultimodalConfig(
        **LLAMA,
        original_max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 7,
            "crop_size": 28,
            "image_token_id": IMAGE,
        },
        audio_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_blocks": 2,
            "num_attention_heads": 4,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
            "nemo_conv_channels": 32,
            "audio_token_id": 97,
        },
    )
    model = seeded(hf.Phi4MultimodalForCausalLM, config)
    vision = {
        "image_pixel_values": noise(1, 2, 3, 28, 28),
        "image_sizes": torch.tensor([[28, 28]]),
        "image_attention_mask": torch.ones(1, 2, 4, 4),
    }
    # One tile: 2 rows of 2 features and a new line each, a separator, and the whole image alike.
    tokens = ids(1, 5, *[IMAGE] * 13, 7, 9)
    prompt = {"input_ids": tokens, **vision}

    def tower(m: Any, tokens: Tensor, *values: Tensor) -> Tensor:
        embeds = m.get_input_embeddings()(tokens)
        image = m.model.embed_tokens_extend.image_embed
        return image(tokens, embeds, **dict(zip(vision, values, strict=True)))

    return {
        "tower": Cell(Call(model, tower), tuple(prompt.values())),
        "prefill": prefill_cell(model, **prompt),
        "decode": decode_cell(model, prompt),
    }


FAMILIES = (
    Family("Mllama", mllama, w8a8=True),
    Family("Phi-4-multimodal", phi4_multimodal, w8a8=True),
)
