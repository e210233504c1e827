"""Powers of a constant exponent and clipping, from torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

X = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)) * 3

CASES: dict[str, tuple[Callable[..., Any], torch.Tensor, list[str]]] = {
    "first": (lambda x: x.pow(1), X, []),
    "square": (lambda x: x.pow(2), X, ["multiply"]),
    "square by name": (torch.square, X, ["multiply"]),
    "cube": (lambda x: torch.pow(x, 3.0), X, ["multiply"] * 2),
    "seventh": (lambda x: (x * 0.3) ** 7, X, ["multiply_scalar", *["multiply"] * 4]),
    "whole numbers": (lambda x: x**3, X.long(), ["multiply"] * 2),
    "root": (lambda x: x**0.5, X.abs(), ["sqrt"]),
    "inverse root": (lambda x: x**-0.5, X.abs(), ["rsqrt"]),
    "inverse": (lambda x: x**-1.0, X, ["reciprocal"]),
    "any": (lambda x: x**1.3, X.abs(), ["power"]),
    "hardtanh": (F.hardtanh, X, ["maximum", "minimum"]),
    "relu6": (F.relu6, X, ["maximum", "minimum"]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    function, x, names = CASES[case]
    converted = convert(function, [x])
    assert converted.names == Counter(names)
    assert converted.reasons == []


def test_other_powers_of_whole_numbers_stay(convert: Any) -> None:
    (reason,) = convert(lambda x: x.double() ** 9, [X]).reasons[-1:]
    assert reason == "f64 to the power 9 has no mfm form"
