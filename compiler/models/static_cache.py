"""A key-value cache of fixed length as inputs and results: what a compiled decoder can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache, StaticLayer


class FunctionalLayer(StaticLayer):
    """One layer's keys and values (B, H, L, D), replaced instead of written in place.

    `position` (n,) i64 is where the next n rows go. Windowed layers keep all rows too: their mask
    hides what the window does not show.
    """

    def __init__(self, keys: Tensor, values: Tensor, position: Tensor) -> None:
        super().__init__(max_cache_len=keys.shape[2])
        self.rows = keys, values
        self.keys, self.values = self.rows
        self.position = position
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Put new rows at the position; return all of them."""
        keys, values = self.rows
        self.keys = keys.index_copy(2, self.position, key_states)
        self.values = values.index_copy(2, self.position, value_states)
        self.rows = self.keys, self.values
        return self.rows

    def get_seq_length(self) -> Any:
        """Number of rows before the position, a tensor."""
        return self.position[0]


def self_cache(tensors: Sequence[Tensor], position: Tensor) -> Cache:
    """A cache over keys and values, layer by layer: k0, v0, k1, v1, ..."""
    pairs = zip(tensors[::2], tensors[1::2], strict=True)
    return Cache(layers=[FunctionalLayer(keys, values, position) for keys, values in pairs])


def cross_cache(own: Cache, tensors: Sequence[Tensor]) -> EncoderDecoderCache:
    """A decoder's cache whose attention to the encoder is computed already: k0, v0, k1, v1, ..."""
    cross = DynamicCache()
    for layer, (keys, values) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        cross.update(keys, values, layer)
    cache = EncoderDecoderCache(own, cross)
    cache.is_updated = dict.fromkeys(range(len(tensors) // 2), True)
    return cache


def rows_of(cache: Cache) -> list[Tensor]:
    """Keys and values of a cache, layer by layer: k0, v0, k1, v1, ..."""
    layers: list[Any] = list(cache.layers)
    return [tensor for layer in layers for tensor in (layer.keys, layer.values)]


def empty_rows(filled: Sequence[Tensor], length: int) -> list[Tensor]:
    """Zeros for a cache of a length, shaped after the rows of a filled one."""
    return [torch.zeros(*t.shape[:2], length, t.shape[3], dtype=t.dtype) for t in filled]
