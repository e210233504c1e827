"""Operations of the tail by simpler ones, where torch's own definitions do not end in those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import get_decompositions


def copied(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """aten.copy: the source in the shape and dtype of the target, whose values do not matter."""
    return source.to(target.dtype).expand(target.shape)


def sign(x: Tensor) -> Any:
    """aten.sign, and aten.sgn of real numbers: -1, 0 or 1."""
    if x.is_complex():
        return NotImplemented
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


def fmod(x: Tensor, y: Tensor | float) -> Any:
    """aten.fmod: the remainder with the sign of the dividend, exact."""
    size = y.abs() if isinstance(y, Tensor) else abs(y)
    rest = torch.remainder(x.abs(), size)
    return torch.where(x < 0, -rest, rest)


def erfc(x: Tensor) -> Tensor:
    """aten.erfc by its definition: exact to rounding errors of 1."""
    return 1 - torch.erf(x)


def hypot(x: Tensor, y: Tensor) -> Tensor:
    """aten.hypot by its definition; squares must be finite."""
    return (x.square() + y.square()).sqrt()


def cdist(x: Tensor, y: Tensor, p: float, mode: int | None) -> Any:
    """aten._cdist_forward: (..., N, C), (..., M, C) -> (..., N, M), for a finite order p > 0.

    As in torch, long lists of points are compared by a product where p is 2 and the mode allows.
    """
    many = x.shape[-2] > 25 or y.shape[-2] > 25
    if p == 2 and (mode == 1 or (mode in (None, 0) and many)):
        squares = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
        return (squares - 2 * (x @ y.transpose(-1, -2))).clamp_min(0).sqrt()
    if not 0 < p < float("inf"):
        return NotImplemented
    distance = (x[..., :, None, :] - y[..., None, :, :]).abs()
    if p == 2:
        return distance.square().sum(-1).sqrt()
    return distance.sum(-1) if p == 1 else distance.pow(p).sum(-1).pow(1 / p)


def searchsorted(
    boundaries: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Any:
    """aten.searchsorted: how many boundaries (..., N) are below values (..., M); or not above."""
    if sorter is not None:
        return NotImplemented
    if boundaries.ndim > 1:
        boundaries = boundaries[..., None, :]
    value = values[..., None]
    below = boundaries <= value if right or side == "right" else boundaries < value
    return below.sum(-1).to(torch.int32 if out_int32 else torch.int64)


def largest(x: Tensor, axis: int, keepdim: bool = False) -> Any:
    """aten.max.dim: the largest values along an axis, and where they are."""
    if x.dtype == torch.bool:
        return NotImplemented
    return x.amax(axis, keepdim), x.argmax(axis, keepdim)


DEFINITIONS: dict[torch._ops.OperatorBase, Callable[..., Any]] = {  # pyright: ignore[reportPrivateUsage]
    torch.ops.aten._cdist_forward.default: cdist,
    torch.ops.aten.copy.default: copied,
    torch.ops.aten.erfc.default: erfc,
    torch.ops.aten.fmod.Scalar: fmod,
    torch.ops.aten.fmod.Tensor: fmod,
    torch.ops.aten.hypot.default: hypot,
    torch.ops.aten.max.dim: largest,
    torch.ops.aten.searchsorted.Tensor: searchsorted,
    torch.ops.aten.sgn.default: sign,
    torch.ops.aten.sign.default: sign,
    **get_decompositions([torch.ops.aten.grid_sampler_2d]),
}
"""Decompositions by operator; what they do not cover is left alone (`NotImplemented`)."""
