"""Convolutions, from torch: products over windows, blocks or rows."""

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
SOUND = torch.randn(2, 4, 20, generator=RANDOM)
PICTURE = torch.randn(2, 4, 9, 8, generator=RANDOM)
FILM = torch.randn(1, 3, 4, 8, 9, generator=RANDOM)
WIDE = torch.randn(1, 96, 5, 6, generator=RANDOM)

OVERLAPPING = ["transpose", "patches", "linear", "transpose"]
SIDE_BY_SIDE = ["reshape", "transpose", "reshape", "linear", "transpose"]
IN_TIME = ["transpose", "conv1d", "transpose"]

CASES: dict[str, tuple[nn.Module, torch.Tensor, list[str]]] = {
    "2d": (nn.Conv2d(4, 6, 3), PICTURE, OVERLAPPING),
    "2d of everything": (
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1), bias=False),
        PICTURE,
        OVERLAPPING,
    ),
    "3d": (nn.Conv3d(3, 5, (3, 2, 2), padding=(1, 0, 1)), FILM, OVERLAPPING),
    "dilated 1d": (nn.Conv1d(4, 6, 3, dilation=2), SOUND, OVERLAPPING),
    "1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), SOUND, IN_TIME),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid"), PICTURE, OVERLAPPING),
    "same": (nn.Conv2d(4, 6, 3, padding="same"), PICTURE, OVERLAPPING),
    # An even kernel needs one more zero after than before.
    "same and even": (
        nn.Conv1d(4, 6, 4, padding="same"),
        SOUND,
        ["transpose", "pad", "conv1d", "transpose"],
    ),
    "blocks": (nn.Conv2d(4, 6, (3, 4), stride=(3, 4)), PICTURE, SIDE_BY_SIDE),
    "blocks that leave a rest": (
        nn.Conv3d(3, 6, (2, 3, 3), stride=(2, 3, 3)),
        FILM,
        ["slice", *SIDE_BY_SIDE],
    ),
    "blocks in time": (nn.Conv1d(4, 6, 5, stride=5), SOUND, SIDE_BY_SIDE),
    "one tap": (nn.Conv2d(4, 6, 1), PICTURE, SIDE_BY_SIDE),
    "one tap of several": (nn.Conv2d(4, 6, 1, stride=2), PICTURE, OVERLAPPING),
    # Few channels: the groups share one product, with zeros in its weight.
    "few groups": (nn.Conv2d(4, 6, 3, groups=2), PICTURE, OVERLAPPING),
    "few groups in time": (nn.Conv1d(4, 8, 4, padding=2, groups=4), SOUND, IN_TIME),
    "depthwise": (
        nn.Conv2d(96, 192, 3, padding=1, groups=96),
        WIDE,
        ["transpose", *["slice", "patches", "linear"] * 3, "concatenate", "transpose"],
    ),
    "mirrored": (
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        PICTURE,
        ["take", "take", *OVERLAPPING],
    ),
}


def call(x: torch.Tensor, module: nn.Module) -> torch.Tensor:
    return module(x)


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    module, x, names = CASES[case]
    converted = convert(call, [x], [module])
    assert converted.names == Counter(names)
    assert converted.reasons == []


def test_one_picture_without_batch(convert: Any) -> None:
    assert convert(call, [PICTURE[0]], [nn.Conv2d(4, 4, 3)]).names["patches"] == 1


def test_a_weight_that_is_made_of_weights(convert: Any) -> None:
    norm = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 4, groups=2), dim=2)
    converted = convert(call, [SOUND], [norm], [FoldConstants()])
    assert converted.names == Counter(IN_TIME)


def test_patch_embedding_is_a_linear_of_rows(convert: Any) -> None:
    def embed(x: torch.Tensor, module: nn.Module) -> torch.Tensor:
        return module(x).flatten(2).transpose(1, 2)

    converted = convert(embed, [PICTURE], [nn.Conv2d(4, 6, 2, stride=2)], [Simplify()])
    assert converted.names == Counter(
        ["slice", "reshape", "transpose", "reshape", "linear"] + ["reshape"]
    )


def test_channels_stay_last_between_layers(convert: Any) -> None:
    stack = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(6, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, (3, 2), stride=(3, 2)),
    )
    converted = convert(call, [PICTURE], [stack], [Simplify()])
    # At the doors, and to bring each block's taps together.
    assert converted.names["transpose"] == 3


KEPT = {
    "run-time weight": (F.conv2d, [PICTURE, torch.randn(3, 4, 2, 2)], "a weight is computed"),
    "double": (F.conv2d, [PICTURE.double(), torch.ones(3, 4, 2, 2).double()], "element type f64"),
}


@pytest.mark.parametrize("case", KEPT)
def test_it_stays_in_torch_and_says_why(convert: Any, case: str) -> None:
    function, inputs, reason = KEPT[case]
    (found,) = convert(function, inputs).reasons
    assert reason in found
