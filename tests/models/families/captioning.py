"""Models that describe an image: the text looks at image features, or follows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from girih.compiler.models.static_cache import cross_cache, empty_rows, rows_of, self_cache
from tests.models.families.vision_language import IMAGE, prefill_cell, tower_cell
from tests.models.family import CACHE_LENGTH, Call, Cell, Family, decode_cell, ids, noise, seeded

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
PIXELS = noise(1, 3, 28, 28)
PROMPT = ids(1, 5, 7, 9)


def vision_cell(model: nn.Module) -> Cell:
    """The last hidden state of a vision model."""
    return Cell(Call(model, lambda m, pixels: m(pixels).last_hidden_state), (PIXELS,))


class BlipDecode(nn.Module):
    """One step of BLIP's text decoder: token, position, own rows, rows of the image features."""

    def __init__(self, decoder: nn.Module, layers: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.layers = layers

    def forward(self, token: Tensor, position: Tensor, features: Tensor, *rows: Tensor) -> Any:
        own = self_cache(rows[: 2 * self.layers], position)
        output = self.decoder(
            token,
            encoder_hidden_states=features,
            past_key_values=cross_cache(own, rows[2 * self.layers :]),
            use_cache=True,
        )
        return output.logits, *rows_of(own)


def blip() -> Mapping[str, Cell]:
    config = hf.BlipConfig(
        vision_config=VISION,
        text_config={**TEXT, "encoder_hidden_size": 32, "sep_token_id": 2},
        image_text_hidden_size=16,
        projection_dim=16,
    )
    model = seeded(hf.BlipForConditionalGeneration, config)
    with torch.no_grad():
        features = model.vision_model(PIXELS).last_hidden_state
        cache = model.text_decoder(
            PROMPT, encoder_hidden_states=features, use_cache=True
        ).past_key_values
    rows = empty_rows(rows_of(cache.self_attention_cache), CACHE_LENGTH)
    for empty, old in zip(rows, rows_of(cache.self_attention_cache), strict=True):
        empty[:, : old.shape[1]] = old
    cross = rows_of(cache.cross_attention_cache)
    step = (torch.tensor([[3]]), torch.tensor([PROMPT.shape[1]]), features, *rows, *cross)
    return {
        "tower": vision_cell(model.vision_model),
        "prefill": Cell(
            Call(model, lambda m, pixels, tokens: m(pixel_values=pixels, input_ids=tokens).logits),
            (PIXELS, PROMPT),
        ),
        "decode": Cell(BlipDecode(model.text_decoder, TEXT["num_hidden_layers"]), step),
    }


def blip_2() -> Mapping[str, Cell]:
    config = hf.Blip2Config(
        vision_config=VISION,
        qformer_config={**TEXT, "encoder_hidden_size": 32},
        text_config=hf.OPTConfig(
            **{k: v for k, v in TEXT.items() if k != "intermediate_size"},
            ffn_dim=64,
            word_embed_proj_dim=32,
        ),
        num_query_tokens=4,
        image_token_index=IMAGE,
    )
    model = seeded(hf.Blip2ForConditionalGeneration, config)
    prompt = ids(*[IMAGE] * 4, 1, 5, 7)
    return {
        "tower": tower_cell(model, pixel_values=PIXELS),
        "prefill": Cell(
            Call(model, lambda m, pixels, tokens: m(pixel_values=pixels, input_ids=tokens).logits),
            (PIXELS, prompt),
        ),
        "decode": decode_cell(model.language_model, {"input_ids": ids(1, 5, 7)}),
    }


def git() -> Mapping[str, Cell]:
    model = seeded(hf.GitForCausalLM, hf.GitConfig(vision_config=VISION, **TEXT))
    prompt = {"input_ids": PROMPT, "pixel_values": PIXELS}
    return {
        "tower": vision_cell(model.git.image_encoder),
        "prefill": prefill_cell(model, **prompt),
        "decode": decode_cell(model, prompt),
    }


class Padded(nn.Module):
    """One step with a cache that grows: what it holds is padded, and a mask says what is real.

    token (1, 1), position (1, 1), mask (1, L + 1), rows (1, L, H, D) -> logits, new rows.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, position: Tensor, mask: Tensor, *rows: Tensor) -> Any:
        cache = hf.DynamicCache()
        for layer, (keys, values) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
            cache.update(keys.transpose(1, 2), values.transpose(1, 2), layer)
        output = self.model(
            input_ids=token,
            position_ids=position,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        return output.logits, *(row[:, -1:] for row in rows_of(cache))


def kosmos2() -> Mapping[str, Cell]:
    config = hf.Kosmos2Config(
        vision_config=VISION,
        text_config={
            "vocab_size": 99,
            "embed_dim": 32,
            "layers": 2,
            "ffn_dim": 64,
            "attention_heads": 4,
            "max_position_embeddings": 64,
        },
        latent_query_num=4,
    )
    model = seeded(hf.Kosmos2ForConditionalGeneration, config)
    tokens = ids(0, 5, *[IMAGE] * 4, 7, 9)
    places = (tokens == IMAGE).long()
    prompt = {"pixel_values": PIXELS, "input_ids": tokens, "image_embeds_position_mask": places}
    with torch.no_grad():
        cache = model(**prompt, use_cache=True).past_key_values
    filled = rows_of(cache)
    rows = empty_rows(filled, CACHE_LENGTH)
    mask = torch.zeros(1, CACHE_LENGTH + 1, dtype=torch.int64)
    mask[:, -1] = 1
    length = tokens.shape[1]
    mask[:, :length] = 1
    for empty, old in zip(rows, filled, strict=True):
        empty[:, :length] = old
    step = (torch.tensor([[3]]), torch.tensor([[length + 2]]), mask, *rows)
    return {
        "tower": vision_cell(model.vision_model),
        "prefill": prefill_cell(model, **prompt),
        "decode": Cell(Padded(model.text_model), step),
    }


def florence2() -> Mapping[str, Cell]:
    config = hf.Florence2Config(
        vision_config={
            "depths": [1, 1],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "embed_dim": [16, 32],
            "num_heads": [4, 4],
            "num_groups": [4, 4],
            "window_size": 4,
            "projection_dim": 32,
        },
        text_config=hf.BartConfig(
            vocab_size=99,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            decoder_start_token_id=2,
            forced_eos_token_id=2,
        ),
        image_token_id=IMAGE,
    )
    model = seeded(hf.Florence2ForConditionalGeneration, config)
    pixels = noise(1, 3, 32, 32)
    with torch.no_grad():
        features = model.get_image_features(pixels).pooler_output
    count = features.shape[-2]
    tokens = ids(*[IMAGE] * count, 5, 7, 9)
    prompt = {"input_ids": tokens, "pixel_values": pixels, "decoder_input_ids": ids(2, 5, 7)}
    return {
        "tower": tower_cell(model, pixel_values=pixels),
        "prefill": prefill_cell(model, **prompt),
        "decode": florence2_decode(model, prompt),
    }


def florence2_decode(model: Any, prompt: Mapping[str, Tensor]) -> Cell:
    """One step of the decoder over the encoder's result, both caches given."""
    with torch.no_grad():
        output = model(**prompt, use_cache=True)
    cache = output.past_key_values
    filled = rows_of(cache.self_attention_cache)
    rows = empty_rows(filled, CACHE_LENGTH)
    length = filled[0].shape[1]
    for empty, old in zip(rows, filled, strict=True):
        empty[:, :length] = old
    cross = rows_of(cache.cross_attention_cache)

    def step(m: Any, token: Tensor, position: Tensor, encoded: Tensor, *rows: Tensor) -> Any:
        own = self_cache(rows[: len(filled)], position)
        result = m(
            decoder_input_ids=token,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            past_key_values=cross_cache(own, rows[len(filled) :]),
            use_cache=True,
        )
        return result.logits, *rows_of(own)

    encoded = output.encoder_last_hidden_state
    inputs = (torch.tensor([[3]]), torch.tensor([length]), encoded, *rows, *cross)
    return Cell(Call(model, step), inputs)


FAMILIES = (
    Family("BLIP", blip, w8a8=True),
    Family("BLIP-2", blip_2, w8a8=True),
    Family("GIT", git, w8a8=True),
    Family("Kosmos-2", kosmos2, w8a8=True),
    Family("Florence-2", florence2, w8a8=True),
)
