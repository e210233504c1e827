"""A Llama-shaped decoder of any size with random weights, for the benchmarks of scale and time."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

import girih
from girih.compiler.models.static_cache import rows_of, self_cache


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


class DecodeStep(nn.Module):
    """One token: token (1, 1) and position (1) i64, and each layer's keys and values.

    Returns the logits (1, 1, vocabulary) and the new keys and values.
    """

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, position: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """Caches as they are written: no copy of them is made."""
        cache = self_cache(rows, position)
        visible = torch.arange(rows[0].shape[1]) <= position
        output: Any = self.model(
            input_ids=token,
            position_ids=position[None],
            attention_mask=visible[None, None, None],
            past_key_values=cache,
            use_cache=True,
        )
        return output.logits, *rows_of(cache)


def decode_entry(model: LlamaForCausalLM, length: int) -> girih.Entry:
    """The decode step as an entry whose caches, of `length` positions, stay on the device."""
    config: Any = model.config
    width = config.hidden_size // config.num_attention_heads
    sizes = (1, length, config.num_key_value_heads, width)
    dtype = model.lm_head.weight.dtype
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
