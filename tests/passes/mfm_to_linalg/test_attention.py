"""Attention on IREE."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import girih


class Pooling(nn.Module):
    """One query over padded rows; the mask that is added is chosen by booleans."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.query = nn.Parameter(torch.randn(1, 1, 32))

    def forward(self, x: Tensor, shown: Tensor) -> Tensor:
        shown = shown.bool().reshape(2, 1, 1, 14).repeat(1, 4, 1, 1).reshape(8, 1, 14)
        mask = torch.where(shown, 0.0, -3e38)
        return self.attention(self.query.repeat(2, 1, 1), x, x, attn_mask=mask)[0]


def test_a_mask_that_is_chosen_by_booleans_hides_what_it_says() -> None:
    x = torch.randn(2, 14, 32, generator=torch.Generator().manual_seed(1))
    shown = (torch.arange(14) < torch.tensor([[12], [10]])).long()
    module = Pooling().eval()
    (found,) = girih.compile(module, (x, shown), recipe="float")(x, shown)
    with torch.no_grad():
        np.testing.assert_allclose(found, module(x, shown).numpy(), atol=1e-5)
