"""What is overwritten in whole: a copy does not depend on what stood there before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def copied(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """aten.copy: the source in the shape and dtype of the target, whose values do not matter."""
    return source.to(target.dtype).expand(target.shape)


OVERWRITING: dict[torch._ops.OperatorBase, Callable[..., Any]] = {  # pyright: ignore[reportPrivateUsage]
    torch.ops.aten.copy.default: copied
}
"""Decompositions by operator."""
