"""Whether a model computes with a cache of fixed length what it computes with its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import EncoderDecoderCache

from girih.runtime.errors import CompilationError

_TOLERANCE = 1e-2
"""Largest difference relative to the largest magnitude: float16 models round on both sides."""
_INSTEAD = "compile its forward with girih.compile, which needs no cache"


def cache_of(model: nn.Module, output: Any) -> Any:
    """The cache that a model returned; refuses one that is not keys and values in every layer."""
    cache = getattr(output, "past_key_values", None)
    parts = [cache]
    if isinstance(cache, EncoderDecoderCache):
        parts = [cache.self_attention_cache, cache.cross_attention_cache]
    layers: list[Any] = [layer for part in parts for layer in getattr(part, "layers", [None])]
    if not all(isinstance(getattr(layer, "keys", None), Tensor) for layer in layers):
        raise CompilationError(
            f"{type(model).__name__} does not keep keys and values in every layer, and "
            f"compile_generator knows no other states: {_INSTEAD}"
        )
    return cache


def refuse_disagreement(model: nn.Module, step: str, found: Tensor, expected: Tensor) -> None:
    """Refuse a model whose logits, of whatever shape, depend on the length of its cache."""
    largest = expected.abs().max().clamp_min(1e-30)
    difference = float((found.flatten() - expected.flatten()).abs().max() / largest)
    if not difference <= _TOLERANCE:
        raise CompilationError(
            f"{type(model).__name__} computes something else with a cache of fixed length than "
            f"with its own: the logits of {step} differ by {difference:.2g} of their largest "
            f"magnitude; {_INSTEAD}"
        )
