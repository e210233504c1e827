"""The tensors of what a module returns or is given, those inside of caches too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

_PLAIN = (int, float, complex, str, bytes, type(None), type, nn.Module)


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of a nested value, in order; of an object such as a cache, its attributes'.

    Args:
        value: what `torch.utils._pytree` takes apart, with any objects as leaves.
    """
    return list(_tensors(value, set()))


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    for leaf in pytree.tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif not isinstance(leaf, _PLAIN) and id(leaf) not in seen:
            seen.add(id(leaf))
            yield from _tensors(list(getattr(leaf, "__dict__", {}).values()), seen)
