"""A key-value cache of fixed length as inputs and results: what a compiled decoder can hold.

Rows are (B, L, H, D), not Hugging Face's (B, H, L, D): a token's keys of all heads then lie
together, and a step writes one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache, StaticLayer

from girih.compiler.hollow import hollow, is_hollow


class FunctionalLayer(StaticLayer):
    """One layer's keys and values (B, L, H, D), replaced instead of written in place.

    `position` (n,) i64 is where the next n rows go. Windowed layers keep all rows too: their mask
    hides what the window does not show.
    """

    def __init__(self, keys: Tensor, values: Tensor, position: Tensor) -> None:
        super().__init__(max_cache_len=keys.shape[1])
        self.rows = keys, values
        self.keys, self.values = keys.transpose(1, 2), values.transpose(1, 2)
        self.position = position
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Put new rows (B, H, n, D) at the position; return all of them (B, H, L, D)."""
        keys, values = self.rows
        keys = keys.index_copy(1, self.position, key_states.transpose(1, 2))
        values = values.index_copy(1, self.position, value_states.transpose(1, 2))
        self.rows = keys, values
        self.keys, self.values = keys.transpose(1, 2), values.transpose(1, 2)
        return self.keys, self.values

    def get_seq_length(self) -> Any:
        """Number of rows before the position, a tensor."""
        return self.position[0]


def self_cache(rows: Sequence[Tensor], position: Tensor) -> Cache:
    """A cache over keys and values (B, L, H, D), layer by layer: k0, v0, k1, v1, ..."""
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return Cache(layers=[FunctionalLayer(keys, values, position) for keys, values in pairs])


def cross_cache(own: Cache, rows: Sequence[Tensor]) -> EncoderDecoderCache:
    """A decoder's cache whose attention to the encoder is computed already: k0, v0, k1, v1, ..."""
    cross = DynamicCache()
    for layer, (keys, values) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        cross.update(keys.transpose(1, 2), values.transpose(1, 2), layer)
    cache = EncoderDecoderCache(own, cross)
    cache.is_updated = dict.fromkeys(range(len(rows) // 2), True)
    return cache


def rows_of(cache: Cache) -> list[Tensor]:
    """Keys and values (B, L, H, D) of a cache, layer by layer: k0, v0, k1, v1, ..."""
    layers: list[Any] = list(cache.layers)
    return [rows.transpose(1, 2) for layer in layers for rows in (layer.keys, layer.values)]


def empty_rows(filled: Sequence[Tensor], length: int) -> list[Tensor]:
    """Zeros for a cache of a length, shaped after a filled one's rows; hollow where those are."""
    sizes = [(each.shape[0], length, *each.shape[2:]) for each in filled]
    return [
        hollow(size, each.dtype) if is_hollow(each) else torch.zeros(size, dtype=each.dtype)
        for size, each in zip(sizes, filled, strict=True)
    ]
