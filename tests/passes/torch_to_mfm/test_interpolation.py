"""Interpolation, from torch: elements taken, or a product along each axis."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from girih.passes.fold_constants import FoldConstants
from girih.passes.simplify import Simplify

RANDOM = torch.Generator().manual_seed(0)
SOUND = torch.randn(2, 4, 11, generator=RANDOM)
PICTURE = torch.randn(2, 3, 7, 9, generator=RANDOM)
TWO_PRODUCTS = ["linear", "transpose", "linear", "transpose"]

CASES: dict[str, tuple[dict[str, Any], torch.Tensor, list[str]]] = {
    "twice as large": ({"scale_factor": 2.0}, PICTURE, ["take", "take"]),
    "any size": ({"size": (5, 14)}, PICTURE, ["take", "take"]),
    "any factor": ({"scale_factor": 1.7}, PICTURE, ["take", "take"]),
    "exactly": ({"size": (5, 14), "mode": "nearest-exact"}, PICTURE, ["take", "take"]),
    "one axis": ({"size": (7, 4)}, PICTURE, ["take"]),
    "in time": ({"scale_factor": 1.5}, SOUND, ["take"]),
    "linear": ({"size": 33, "mode": "linear"}, SOUND, ["linear"]),
    "as it is": ({"size": 11, "mode": "linear"}, SOUND, []),
    "bilinear": ({"size": (5, 14), "mode": "bilinear"}, PICTURE, TWO_PRODUCTS),
    "bilinear by corners": (
        {"size": (5, 14), "mode": "bilinear", "align_corners": True},
        PICTURE,
        TWO_PRODUCTS,
    ),
    "bilinear by factors": (
        {"scale_factor": (1.3, 2.1), "mode": "bilinear"},
        PICTURE,
        TWO_PRODUCTS,
    ),
    "bicubic": ({"size": (12, 12), "mode": "bicubic"}, PICTURE, TWO_PRODUCTS),
    "bicubic by corners": (
        {"scale_factor": 1.5, "mode": "bicubic", "align_corners": True},
        PICTURE,
        TWO_PRODUCTS,
    ),
    "antialiased bilinear": (
        {"size": (4, 14), "mode": "bilinear", "antialias": True},
        PICTURE,
        TWO_PRODUCTS,
    ),
    "antialiased bicubic": (
        {"size": (4, 5), "mode": "bicubic", "antialias": True},
        PICTURE,
        TWO_PRODUCTS,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    arguments, x, names = CASES[case]
    converted = convert(lambda x: F.interpolate(x, **arguments), [x])
    assert converted.names == Counter(names)
    assert converted.reasons == []


class Positions(nn.Module):
    """Position embeddings of 4 x 4 patches, added to 10 x 9."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(16, 1024, generator=RANDOM))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        picture = self.table.reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
        wide = F.interpolate(picture, size=(10, 9), mode="bicubic", align_corners=False)
        return x + wide.permute(0, 2, 3, 1).reshape(1, 90, -1)


def test_positions_are_interpolated_once(convert: Any) -> None:
    x = torch.randn(1, 90, 1024, generator=RANDOM)
    found = convert(lambda x, m: m(x), [x], [Positions()], [FoldConstants(), Simplify()])
    assert found.names == Counter(["add"])
