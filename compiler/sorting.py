"""Sorting as counting: what IREE lacks, written with comparisons and sums.

An element's place is the number of elements that come before it. That takes n^2 comparisons of an
axis of n, all independent; enough for routers, candidates and the like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LONGEST = 1024
"""Longest axis that is sorted so; n^2 comparisons of a longer one are not worth it."""


def sort(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Values and indices in order along an axis; equal elements keep their order. No NaN."""
    return _sorted(x, dim, descending, None)


def sort_stable(
    x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """As `sort`, which is stable in any case."""
    return _sorted(x, dim, descending, None)


def topk(
    x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Tensor, Tensor]:
    """The k first of the sorted elements, and their indices; in order in any case."""
    return _sorted(x, dim, largest, k)


def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th of the elements in ascending order, k from 1, and its index."""
    sorted_elements = _sorted(x, dim, False, k)
    if sorted_elements is NotImplemented:
        return NotImplemented
    values, indices = (each.narrow(dim, k - 1, 1) for each in sorted_elements)
    return (values, indices) if keepdim else (values.squeeze(dim), indices.squeeze(dim))


def median(x: Tensor, dim: int, keepdim: bool = False) -> Any:
    """The lower one of the two middle elements, and its index."""
    return kthvalue(x, (x.shape[dim] + 1) // 2 if x.dim() else 1, dim, keepdim)


def median_of_all(x: Tensor) -> Any:
    """The median of all elements, without axes."""
    found = median(x.flatten(), 0)
    return found if found is NotImplemented else found[0]


def _sorted(x: Tensor, dim: int, descending: bool, count: int | None) -> Any:
    size = x.shape[dim] if x.dim() else 1
    if x.dim() == 0 or size > LONGEST:
        return NotImplemented
    rows = x.movedim(dim, -1)
    numbers = torch.arange(size, device=x.device)
    one, other = rows.unsqueeze(-1), rows.unsqueeze(-2)
    before = other > one if descending else other < one
    before = before | ((other == one) & (numbers.unsqueeze(0) < numbers.unsqueeze(1)))
    place = before.sum(-1)
    kept = numbers[:count].unsqueeze(-1) == place.unsqueeze(-2)
    indices = torch.where(kept, numbers, torch.zeros_like(numbers)).sum(-1)
    values = torch.where(kept, other, torch.zeros_like(other)).sum(-1)
    return values.to(x.dtype).movedim(-1, dim), indices.movedim(-1, dim)


SORTING: dict[torch._ops.OperatorBase, Callable[..., Any]] = {  # pyright: ignore[reportPrivateUsage]
    torch.ops.aten.kthvalue.default: kthvalue,
    torch.ops.aten.median.default: median_of_all,
    torch.ops.aten.median.dim: median,
    torch.ops.aten.sort.default: sort,
    torch.ops.aten.sort.stable: sort_stable,
    torch.ops.aten.topk.default: topk,
}
"""Decompositions by operator; longer axes are left alone (`NotImplemented`)."""
