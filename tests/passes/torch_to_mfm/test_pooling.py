"""Pooling, from torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

RANDOM = torch.Generator().manual_seed(0)
SOUND = torch.randn(2, 4, 11, generator=RANDOM)
ODD = torch.randn(2, 3, 7, 9, generator=RANDOM)
EVEN = torch.randn(2, 3, 8, 6, generator=RANDOM)
FILM = ODD[:, None]

CASES: dict[str, tuple[Callable[..., Any], torch.Tensor, set[str]]] = {
    "mean": (lambda x: F.avg_pool2d(x, 2), EVEN, {"reduce", "multiply_scalar"}),
    "padded": (lambda x: F.avg_pool2d(x, 3, 2, 1), ODD, {"pad", "patches", "reduce"}),
    "padding not counted": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        ODD,
        {"pad", "patches", "reduce", "multiply"},
    ),
    "rounded up": (lambda x: F.avg_pool2d(x, (3, 2), 2, 1, ceil_mode=True), ODD, {"patches"}),
    "rounded up, not counted": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        ODD,
        {"patches", "multiply"},
    ),
    "rounded up, counted as far as padded": (
        lambda x: F.avg_pool1d(x, 4, 2, 1, ceil_mode=True),
        SOUND,
        {"pad", "reduce", "multiply"},
    ),
    "divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), ODD, {"reduce"}),
    "in time": (lambda x: F.avg_pool1d(x, 3, 1, 1), SOUND, {"patches", "reduce"}),
    "one sound": (lambda x: F.avg_pool1d(x, 2), SOUND[0], {"reduce"}),
    "film": (lambda x: F.avg_pool3d(x, 2), FILM[:, :, :2], {"reduce"}),
    "largest": (lambda x: F.max_pool2d(x, 3, 2, 1), -ODD.abs(), {"pad", "patches", "reduce"}),
    "largest, rounded up": (lambda x: F.max_pool2d(x, 2, ceil_mode=True), ODD, {"reduce"}),
    "largest, dilated": (lambda x: F.max_pool2d(x, 2, 1, dilation=2), ODD, {"patches"}),
    "largest in time": (lambda x: F.max_pool1d(x, 3, 2, 1), SOUND, {"reduce"}),
    "largest of a film": (lambda x: F.max_pool3d(x, 2), FILM, {"reduce"}),
    "to one": (lambda x: F.adaptive_avg_pool2d(x, 1), ODD, {"reduce", "multiply_scalar"}),
    "to a divisor": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), EVEN, {"reduce"}),
    # Windows of unlike sizes: a product along each axis.
    "to any size": (lambda x: F.adaptive_avg_pool2d(x, (4, 5)), ODD, {"linear"}),
    "to any length": (lambda x: F.adaptive_avg_pool1d(x, 5), SOUND, {"linear"}),
    "by area": (lambda x: F.interpolate(x, size=(4, 4), mode="area"), ODD, {"linear"}),
}


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    function, x, names = CASES[case]
    converted = convert(function, [x])
    assert names <= set(converted.names)
    assert converted.reasons == []


def test_places_of_the_largest_stay_in_torch(convert: Any) -> None:
    converted = convert(lambda x: F.max_pool2d(x, 2, return_indices=True), [EVEN])
    assert converted.reasons == ["the places of the largest elements have no mfm form"]
