"""A Llama-shaped decoder of any size with random weights, for the benchmarks of scale and time."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import Cache, StaticLayer

import girih


@dataclass(frozen=True)
class Size:
    """Widths of a decoder; the defaults are those of a 1.1 billion parameter model."""

    layers: int = 22
    hidden: int = 2048
    heads: int = 32
    key_heads: int = 4
    intermediate: int = 5632
    vocabulary: int = 32000

    @property
    def config(self) -> LlamaConfig:
        """The same in transformers' words."""
        return LlamaConfig(
            num_hidden_layers=self.layers,
            hidden_size=self.hidden,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            intermediate_size=self.intermediate,
            vocab_size=self.vocabulary,
        )


class FixedLayer(StaticLayer):
    """One layer's keys and values, (1, length, heads, width); nothing is written in place."""

    def __init__(self, keys: Tensor, values: Tensor, position: Tensor) -> None:
        super().__init__(keys.shape[1])
        self.keys, self.values, self.position = keys, values, position
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.keys = torch.index_copy(self.keys, 1, self.position, key_states.transpose(1, 2))
        self.values = torch.index_copy(self.values, 1, self.position, value_states.transpose(1, 2))
        return self.keys.transpose(1, 2), self.values.transpose(1, 2)


class DecodeStep(nn.Module):
    """One token: token (1, 1) and position (1) i64, and each layer's keys and values.

    Returns the logits (1, 1, vocabulary) and the new keys and values.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, position: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        layers = [
            FixedLayer(keys, values, position)
            for keys, values in zip(caches[::2], caches[1::2], strict=True)
        ]
        visible = torch.arange(caches[0].shape[1]) <= position
        output = self.model(
            input_ids=token,
            position_ids=position[None],
            attention_mask=visible[None, None, None],
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
        )
        written = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
        return (output.logits, *written)


def decode_entry(model: LlamaForCausalLM, length: int) -> girih.Entry:
    """The decode step as an entry whose caches, of `length` positions, stay on the device."""
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    sizes = (1, length, config.num_key_value_heads, width)
    dtype = model.get_input_embeddings().weight.dtype
    caches = [torch.zeros(sizes, dtype=dtype) for _ in range(2 * config.num_hidden_layers)]
    names = [f"cache.{index}" for index in range(len(caches))]
    inputs = (torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), *caches)
    return girih.Entry(
        DecodeStep(model),
        inputs,
        reads={index + 2: name for index, name in enumerate(names)},
        writes={index + 1: name for index, name in enumerate(names)},
    )


def build(size: Size, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    """The model with random weights in memory; deterministic."""
    torch.manual_seed(0)
    with _default(dtype):
        return LlamaForCausalLM(size.config).eval()


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Generator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
