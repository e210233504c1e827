"""Operations of the tail by simpler ones, where torch's own definitions do not end in those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def copied(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """aten.copy: the source in the shape and dtype of the target, whose values do not matter."""
    return source.to(target.dtype).expand(target.shape)


def sign(x: Tensor) -> Any:
    """aten.sign, and aten.sgn of real numbers: -1, 0 or 1."""
    if x.is_complex():
        return NotImplemented
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


def erfc(x: Tensor) -> Tensor:
    """aten.erfc by its definition: exact to rounding errors of 1."""
    return 1 - torch.erf(x)


DEFINITIONS: dict[torch._ops.OperatorBase, Callable[..., Any]] = {  # pyright: ignore[reportPrivateUsage]
    torch.ops.aten.copy.default: copied,
    torch.ops.aten.erfc.default: erfc,
    torch.ops.aten.sgn.default: sign,
    torch.ops.aten.sign.default: sign,
}
"""Decompositions by operator; what they do not cover is left alone (`NotImplemented`)."""
