"""Transposed convolutions, from torch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

RANDOM = torch.Generator().manual_seed(0)
SOUND = torch.randn(2, 4, 7, generator=RANDOM)
PICTURE = torch.randn(2, 4, 5, 6, generator=RANDOM)
FILM = torch.randn(1, 3, 4, 3, 3, generator=RANDOM)

CASES: dict[str, tuple[nn.Module, torch.Tensor, list[str]]] = {
    # Each element becomes a block: a product with all taps.
    "blocks": (
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        PICTURE,
        ["transpose", "linear", "reshape", "transpose", "reshape", "transpose"],
    ),
    "blocks of a film": (
        nn.ConvTranspose3d(3, 2, 2, stride=2, bias=False),
        FILM,
        ["transpose", "linear", "reshape", "transpose", "reshape", "transpose"],
    ),
    # Zeros between the elements of two axes, then around them, then a convolution.
    "overlapping": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        PICTURE,
        [*["reshape", "pad", "reshape", "pad"] * 2, "transpose", "patches", "linear", "transpose"],
    ),
    "cut off": (
        nn.ConvTranspose2d(4, 6, 3, stride=3, padding=3, output_padding=1),
        PICTURE,
        [*["reshape", "pad", "reshape", "slice"] * 2]
        + ["transpose", "patches", "linear", "transpose"],
    ),
    "in time": (
        nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1, bias=False),
        SOUND,
        ["reshape", "pad", "reshape", "pad", "transpose", "conv1d", "transpose"],
    ),
    "groups and dilation": (
        nn.ConvTranspose1d(4, 6, 3, stride=1, groups=2, dilation=2),
        SOUND,
        ["pad", "transpose", "patches", "linear", "transpose"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    module, x, names = CASES[case]
    converted = convert(lambda x, m: m(x), [x], [module])
    assert converted.names == Counter(names)
    assert converted.reasons == []


def test_one_sound_without_batch(convert: Any) -> None:
    converted = convert(lambda x, m: m(x), [SOUND[0]], [nn.ConvTranspose1d(4, 3, 2)])
    assert converted.reasons == []
