"""Whisper as two entry points, `encode` and `decode`, around a Hugging Face model.

Architecture: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022).
The modules hold no weights of their own: they call the sub-modules of the model they are given.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from girih.compiler.models.ctranslate2 import read_variables
from girih.runtime.transcription import TINY_ENGLISH, Checkpoint

_HEAD_WIDTH = 64
"""Of every Whisper, whatever its width."""
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)")


class WhisperEncode(nn.Module):
    """Log-mel window (1, mels, frames) -> cross-attention keys and values of every decoder layer.

    Results, each (1, frames / 2, width): keys of layer 0, values of layer 0, keys of layer 1, ...
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.model.encoder
        self.cross_attention = nn.ModuleList(
            layer.encoder_attn for layer in model.model.decoder.layers
        )

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        hidden = self.encoder(features).last_hidden_state
        results: list[Tensor] = []
        for attention in self.cross_attention:
            projections: Any = attention
            results += [projections.k_proj(hidden), projections.v_proj(hidden)]
        return tuple(results)


class WhisperDecode(nn.Module):
    """One token in, the next token's logits and the written self-attention caches out.

    Arguments: token (1, 1) int64, position (1,) int64, then per layer self keys and self values
    (1, cache length, width), then per layer cross keys and cross values (1, frames / 2, width).
    Results: logits (1, 1, vocabulary), then per layer the self keys and self values.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.model.decoder
        self.heads: int = model.config.decoder_attention_heads

    def forward(self, token: Tensor, position: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        layers = self.decoder.layers
        own, cross = caches[: 2 * len(layers)], caches[2 * len(layers) :]
        positions = F.embedding(position, self.decoder.embed_positions.weight)
        hidden = self.decoder.embed_tokens(token) + positions
        cache_length = own[0].shape[1]
        visible = (torch.arange(cache_length) <= position)[None, None, None, :]
        written: list[Tensor] = []
        for index, layer in enumerate(layers):
            attention = layer.self_attn
            normed = layer.self_attn_layer_norm(hidden)
            keys = own[2 * index].index_copy(1, position, attention.k_proj(normed))
            values = own[2 * index + 1].index_copy(1, position, attention.v_proj(normed))
            written += [keys, values]
            hidden = hidden + self._attend(attention, normed, keys, values, visible)
            normed = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + self._attend(
                layer.encoder_attn, normed, cross[2 * index], cross[2 * index + 1], None
            )
            normed = layer.final_layer_norm(hidden)
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(normed)))
        logits = F.linear(self.decoder.layer_norm(hidden), self.decoder.embed_tokens.weight)
        return (logits, *written)

    def _attend(
        self, attention: Any, hidden: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
    ) -> Tensor:
        query = attention.q_proj(hidden)
        heads = (
            part.view(part.shape[0], part.shape[1], self.heads, -1).transpose(1, 2)
            for part in (query, keys, values)
        )
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask)
        return attention.out_proj(mixed.transpose(1, 2).reshape(query.shape))


def pretrained(checkpoint: Checkpoint = TINY_ENGLISH) -> Any:
    """A pretrained Whisper in float32; its sizes are those of its weights.

    Raises `GirihError` where the weights are not installed.
    """
    transformers = importlib.import_module("transformers")
    variables = read_variables(*checkpoint.weight_files())
    state = hugging_face_state(variables)
    vocabulary, width = state["model.decoder.embed_tokens.weight"].shape
    layers = {side: _layers(variables, side) for side in ("encoder", "decoder")}
    rules = checkpoint.rules
    config = transformers.WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=width // _HEAD_WIDTH,
        decoder_attention_heads=width // _HEAD_WIDTH,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        pad_token_id=rules.end,
        bos_token_id=rules.end,
        eos_token_id=rules.end,
        decoder_start_token_id=rules.start[0],
    )
    with torch.device("meta"):
        model = transformers.WhisperForConditionalGeneration(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def _layers(variables: dict[str, np.ndarray], side: str) -> int:
    numbers = {found[2] for found in map(_LAYER.match, variables) if found and found[1] == side}
    return len(numbers)


def hugging_face_state(variables: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """Rename a CTranslate2 Whisper's variables to Hugging Face's, splitting fused projections.

    CTranslate2 fuses the query, key and value projections of self-attention, and the key and value
    projections of cross-attention, along the output dimension; keys carry a zero bias there that
    the original model does not have.
    """

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(variables[name].astype(np.float32))

    state: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        state[f"model.{side}.embed_positions.weight"] = tensor(
            f"{side}/position_encodings/encodings"
        )
        for ours, theirs in (("weight", "gamma"), ("bias", "beta")):
            state[f"model.{side}.layer_norm.{ours}"] = tensor(f"{side}/layer_norm/{theirs}")
    state["model.decoder.embed_tokens.weight"] = tensor("decoder/embeddings/weight")
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    for conv in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            state[f"model.encoder.{conv}.{part}"] = tensor(f"encoder/{conv}/{part}")

    def projections(source: str, linear: int, target: str, names: tuple[str, ...]) -> None:
        weight = tensor(f"{source}/linear_{linear}/weight").chunk(len(names))
        bias = tensor(f"{source}/linear_{linear}/bias").chunk(len(names))
        for name, w, b in zip(names, weight, bias, strict=True):
            state[f"{target}.{name}.weight"] = w
            if name != "k_proj":
                state[f"{target}.{name}.bias"] = b

    def norm(source: str, target: str) -> None:
        state[f"{target}.weight"] = tensor(f"{source}/layer_norm/gamma")
        state[f"{target}.bias"] = tensor(f"{source}/layer_norm/beta")

    layers = sorted({m.group(0, 1, 2) for m in map(_LAYER.match, variables) if m})
    for source, side, layer in layers:
        target = f"model.{side}.layers.{layer}"
        own = f"{source}/self_attention"
        projections(own, 0, f"{target}.self_attn", ("q_proj", "k_proj", "v_proj"))
        projections(own, 1, f"{target}.self_attn", ("out_proj",))
        norm(own, f"{target}.self_attn_layer_norm")
        if side == "decoder":
            cross = f"{source}/attention"
            projections(cross, 0, f"{target}.encoder_attn", ("q_proj",))
            projections(cross, 1, f"{target}.encoder_attn", ("k_proj", "v_proj"))
            projections(cross, 2, f"{target}.encoder_attn", ("out_proj",))
            norm(cross, f"{target}.encoder_attn_layer_norm")
        projections(f"{source}/ffn", 0, target, ("fc1",))
        projections(f"{source}/ffn", 1, target, ("fc2",))
        norm(f"{source}/ffn", f"{target}.final_layer_norm")
    return state
