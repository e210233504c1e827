"""Models whose decoder attends to an encoder's result: of text, sound or an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from girih.compiler.models.static_cache import cross_cache, empty_rows, rows_of, self_cache
from tests.models.family import CACHE_LENGTH, Call, Cell, Family, ids, noise, seeded

START = ids(2, 5, 7)
"""What the decoder has said so far."""
SMALL = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 99,
}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 2}


def encoder_cell(model: hf.PreTrainedModel, **inputs: Tensor) -> Cell:
    """The encoder's last hidden state."""

    def encoded(m: Any, *values: Tensor) -> Tensor:
        return m.get_encoder()(**dict(zip(inputs, values, strict=True))).last_hidden_state

    return Cell(Call(model, encoded), tuple(inputs.values()))


def encoder_result(model: Any, prompt: Mapping[str, Tensor]) -> Any:
    """What the encoder returns: some models have a class of their own for it."""
    inputs = {name: value for name, value in prompt.items() if name != "decoder_input_ids"}
    with torch.no_grad():
        return model.get_encoder()(**inputs)


def cross_prefill_cell(model: hf.PreTrainedModel, prompt: Mapping[str, Tensor]) -> Cell:
    """What the decoder says of the encoder's result and of the tokens so far, with its caches."""
    encoder = encoder_result(model, prompt)

    def prefill(m: Any, tokens: Tensor, encoded: Tensor) -> Any:
        result = m(
            decoder_input_ids=tokens,
            encoder_outputs=type(encoder)(last_hidden_state=encoded),
            use_cache=True,
        )
        cache = result.past_key_values
        return (
            result.logits,
            *rows_of(cache.self_attention_cache),
            *rows_of(cache.cross_attention_cache),
        )

    return Cell(Call(model, prefill), (prompt["decoder_input_ids"], encoder.last_hidden_state))


def cross_decode_cell(model: hf.PreTrainedModel, prompt: Mapping[str, Tensor]) -> Cell:
    """One step of the decoder over the encoder's result, both caches given."""
    encoder = encoder_result(model, prompt)
    with torch.no_grad():
        cache = model(**prompt, use_cache=True).past_key_values
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
            encoder_outputs=type(encoder)(last_hidden_state=encoded),
            past_key_values=cross_cache(own, rows[len(filled) :]),
            use_cache=True,
        )
        return result.logits, *rows_of(own)

    token, position = torch.tensor([[3]]), torch.tensor([length])
    inputs = (token, position, encoder.last_hidden_state, *rows, *cross)
    return Cell(Call(model, step), inputs)


def encoder_decoder(model: hf.PreTrainedModel, **inputs: Tensor) -> Mapping[str, Cell]:
    """Tower, prefill and decode of a model; `inputs` are the encoder's."""
    prompt = {**inputs, "decoder_input_ids": START}
    return {
        "tower": encoder_cell(model, **inputs),
        "prefill": cross_prefill_cell(model, prompt),
        "decode": cross_decode_cell(model, prompt),
    }


def t5() -> Mapping[str, Cell]:
    config = hf.T5Config(
        vocab_size=99,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    model = seeded(hf.T5ForConditionalGeneration, config)
    return encoder_decoder(model, input_ids=ids(5, 7, 9, 11, 4, 1))


def whisper() -> Mapping[str, Cell]:
    config = hf.WhisperConfig(
        **SMALL, **TOKENS, d_model=32, num_mel_bins=8, max_source_positions=20
    )
    config.max_target_positions = 64
    model = seeded(hf.WhisperForConditionalGeneration, config)
    return encoder_decoder(model, input_features=noise(1, 8, 40))


def moonshine() -> Mapping[str, Cell]:
    config = hf.MoonshineConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=64,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=4,
        decoder_num_attention_heads=4,
    )
    model = seeded(hf.MoonshineForConditionalGeneration, config)
    return encoder_decoder(model, input_values=noise(1, 4000))


def speech2text() -> Mapping[str, Cell]:
    config = hf.Speech2TextConfig(
        **SMALL,
        **TOKENS,
        d_model=32,
        conv_channels=32,
        input_feat_per_channel=16,
        max_source_positions=60,
        max_target_positions=32,
    )
    model = seeded(hf.Speech2TextForConditionalGeneration, config)
    return encoder_decoder(model, input_features=noise(1, 40, 16))


def seamless_m4t() -> Mapping[str, Cell]:
    config = hf.SeamlessM4TConfig(
        **{**SMALL, **TOKENS},
        hidden_size=32,
        max_position_embeddings=64,
        speech_encoder_layers=2,
        speech_encoder_attention_heads=4,
        speech_encoder_intermediate_size=64,
        feature_projection_input_dim=16,
        adaptor_kernel_size=4,
        adaptor_stride=4,
        conv_depthwise_kernel_size=7,
        max_source_positions=64,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = seeded(hf.SeamlessM4TForSpeechToText, config)
    return encoder_decoder(model, input_features=noise(1, 24, 16))


DECODER = {
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "vocab_size": 99,
    "max_position_embeddings": 64,
}


def _reader(encoder: Any, decoder: Any, size: int) -> Mapping[str, Cell]:
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id = 2, 0
    model = seeded(hf.VisionEncoderDecoderModel, config)
    return encoder_decoder(model, pixel_values=noise(1, 3, size, size))


def trocr() -> Mapping[str, Cell]:
    encoder = hf.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=28,
        patch_size=7,
    )
    return _reader(encoder, hf.TrOCRConfig(**DECODER, cross_attention_hidden_size=32), 28)


def donut() -> Mapping[str, Cell]:
    encoder = hf.DonutSwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    )
    decoder = hf.MBartConfig(**DECODER, encoder_layers=2, scale_embedding=True)
    return _reader(encoder, decoder, 32)


FAMILIES = (
    Family("T5", t5, ci=True, w8a8=True),
    Family("Whisper", whisper, ci=True, w8a8=True),
    Family("Moonshine", moonshine, w8a8=True),
    Family("Speech2Text", speech2text, w8a8=True),
    Family("SeamlessM4T", seamless_m4t),
    Family("TrOCR", trocr, w8a8=True),
    Family("Donut", donut, w8a8=True),
)
