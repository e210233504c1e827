"""Normalizations over groups and batches, from torch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

RANDOM = torch.Generator().manual_seed(0)
SOUND = torch.randn(2, 4, 7, generator=RANDOM)
PICTURE = torch.randn(2, 4, 5, 6, generator=RANDOM)
ROWS = torch.randn(3, 4, generator=RANDOM)
WIDE = torch.randn(1, 64, 5, 6, generator=RANDOM)


def batch_norm(module: Any) -> nn.Module:
    """The module with statistics and scales as if it had been trained."""
    module.running_mean.normal_(generator=RANDOM)
    module.running_var.uniform_(0.5, 2, generator=RANDOM)
    module.weight.data.normal_(generator=RANDOM)
    module.bias.data.normal_(generator=RANDOM)
    return module


AS_ROWS = ["reshape", "layer_norm", "reshape"]
PER_CHANNEL = ["transpose", "multiply", "add", "transpose"]

CASES: dict[str, tuple[nn.Module, torch.Tensor, list[str]]] = {
    "groups": (nn.GroupNorm(2, 4), PICTURE, AS_ROWS + PER_CHANNEL),
    "groups without scale": (nn.GroupNorm(2, 4, affine=False), PICTURE, AS_ROWS),
    "a group per channel": (nn.GroupNorm(4, 4), SOUND, ["layer_norm", *PER_CHANNEL]),
    "instances": (
        nn.InstanceNorm2d(4),
        PICTURE,
        ["reshape", *AS_ROWS, "reshape"],
    ),
    "batch": (batch_norm(nn.BatchNorm2d(4)), PICTURE, PER_CHANNEL),
    "batch of rows": (batch_norm(nn.BatchNorm1d(4)), ROWS, ["multiply", "add"]),
    "batch after linear": (
        nn.Sequential(nn.Linear(4, 6), batch_norm(nn.BatchNorm1d(6))),
        ROWS,
        ["linear"],
    ),
    "batch after conv1d": (
        nn.Sequential(nn.Conv1d(4, 6, 3, bias=False), batch_norm(nn.BatchNorm1d(6))),
        SOUND,
        ["transpose", "conv1d", "transpose"],
    ),
    "batch after conv2d": (
        nn.Sequential(nn.Conv2d(4, 6, 3), batch_norm(nn.BatchNorm2d(6))),
        PICTURE,
        ["transpose", "patches", "linear", "transpose"],
    ),
    # Of several products, the concatenation is scaled.
    "batch after depthwise": (
        nn.Sequential(nn.Conv2d(64, 64, 3, groups=64), batch_norm(nn.BatchNorm2d(64))),
        WIDE,
        ["transpose", *["slice", "patches", "linear"] * 2, "concatenate", "transpose"]
        + PER_CHANNEL,
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


def test_instances_with_scales(convert: Any) -> None:
    assert convert(call, [PICTURE], [nn.InstanceNorm2d(4, affine=True)]).reasons == []


def test_two_normalizations_of_one_convolution(convert: Any) -> None:
    """Each has a weight of its own."""
    parts = [nn.Conv2d(4, 6, 3), batch_norm(nn.BatchNorm2d(6)), batch_norm(nn.BatchNorm2d(6))]
    found = convert(lambda x, c, a, b: a(c(x)) + b(c(x)), [PICTURE], parts)
    assert found.names["linear"] == 2
    assert found.names["multiply"] == 0


def test_a_product_that_others_read_keeps_its_weight(convert: Any) -> None:
    def both(x: torch.Tensor, product: nn.Module, norm: nn.Module) -> torch.Tensor:
        y = product(x)
        return norm(y) + y

    found = convert(both, [ROWS], [nn.Linear(4, 6), batch_norm(nn.BatchNorm1d(6))])
    assert found.names == Counter(["linear", "multiply", "add", "add"])
