"""Reductions on IREE."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import girih


class Truths(nn.Module):
    """Booleans reduced along rows of no even number, as IREE pads them."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        large = x > 0.9
        return large.any(-1), (x > -1).all(1, keepdim=True), large.all(), large.any(0)


def test_booleans_are_reduced_along_any_axes() -> None:
    x = torch.randn(1, 5, 10, generator=torch.Generator().manual_seed(0))
    found = girih.compile(Truths(), (x,), recipe="float")(x)
    for ours, theirs in zip(found, Truths()(x), strict=True):
        assert ours.tolist() == theirs.tolist()
