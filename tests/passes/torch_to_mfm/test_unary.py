"""Functions of one number, from torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

X = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)) * 3

CASES: dict[str, tuple[Callable[..., Any], torch.Tensor, list[str]]] = {
    "absolute": (torch.abs, X, ["absolute"]),
    "ceil": (torch.ceil, X, ["ceil"]),
    "cosine": (torch.cos, X, ["cosine"]),
    "elu": (F.elu, X, ["elu"]),
    "erf": (torch.erf, X, ["erf"]),
    "exp": (torch.exp, X, ["exp"]),
    "floor": (torch.floor, X, ["floor"]),
    "hard_sigmoid": (F.hardsigmoid, X, ["hard_sigmoid"]),
    "hard_swish": (F.hardswish, X, ["hard_swish"]),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.1),
        X,
        ["relu", "negate", "relu", "multiply_scalar", "add"],
    ),
    "log": (torch.log, X.abs(), ["log"]),
    "logical_not": (torch.logical_not, X > 0, ["logical_not"]),
    "not": (torch.bitwise_not, X > 0, ["logical_not"]),
    "bitwise_not": (torch.bitwise_not, X.long(), ["bitwise_not"]),
    "negate": (torch.neg, X.long(), ["negate"]),
    "reciprocal": (torch.reciprocal, X, ["reciprocal"]),
    "relu": (torch.relu, X, ["relu"]),
    "round": (torch.round, X, ["round"]),
    "rsqrt": (torch.rsqrt, X.abs(), ["rsqrt"]),
    "sigmoid": (torch.sigmoid, X, ["sigmoid"]),
    "silu": (F.silu, X, ["silu"]),
    "sine": (torch.sin, X, ["sine"]),
    "softplus": (F.softplus, X, ["softplus"]),
    "steep softplus": (
        lambda x: F.softplus(x, beta=2.0),
        X,
        ["multiply_scalar", "softplus", "multiply_scalar"],
    ),
    "sqrt": (torch.sqrt, X.abs(), ["sqrt"]),
    "tanh": (torch.tanh, X, ["tanh"]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    function, x, names = CASES[case]
    converted = convert(function, [x])
    assert converted.names == Counter(names)
    assert converted.reasons == []


KEPT: dict[str, tuple[Callable[..., Any], torch.Tensor, str]] = {
    "double": (torch.exp, X.double(), "exp of f64 has no mfm form"),
    "scaled elu": (F.selu, X, "only arguments [1, 1, 1] have an mfm form"),
    "logical_not of numbers": (torch.logical_not, X, "logical_not of f32 has no mfm form"),
    "softplus cut early": (
        lambda x: F.softplus(x, threshold=1.0),
        X,
        "softplus with threshold 1.0 has no mfm form",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_it_stays_in_torch_and_says_why(convert: Any, case: str) -> None:
    function, x, reason = KEPT[case]
    (found,) = convert(function, [x]).reasons
    assert found.startswith(reason)
