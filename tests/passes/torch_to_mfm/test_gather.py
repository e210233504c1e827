"""Reads and writes at positions known at run time, from torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

X = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
ROWS = torch.tensor([[1, 6], [0, 3], [5, 2]])
SAME = torch.tensor([[1, 1], [3, 3], [6, 0]])

CASES: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
    "gather": (lambda x, i: x.gather(1, i), [X, ROWS]),
    "index": (lambda x, i: x[:, i], [X, ROWS]),
    "scatter": (lambda x, i: x.scatter(1, i, -x[:, :2]), [X, ROWS]),
    "the last of two": (lambda x, i: x.scatter(1, i, -x[:, :2]), [X, SAME]),
    "scatter of a number": (lambda x, i: x.scatter(-1, i, 5.0), [X, SAME]),
    "scatter along the first axis": (lambda x, i: x.t().scatter(0, i.t(), 2.0), [X, ROWS]),
    "scatter_add": (lambda x, i: x.scatter_add(1, i, x[:, :2]), [X, SAME]),
    "whole numbers": (lambda x, i: x.scatter_add(1, i, i), [torch.zeros_like(X).long(), SAME]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_converts(convert: Any, case: str) -> None:
    function, inputs = CASES[case]
    assert convert(function, inputs).reasons == []


KEPT: dict[str, tuple[Callable[..., Any], list[torch.Tensor], str]] = {
    "fewer rows": (
        lambda x, i: x.scatter(1, i[:2], 1.0),
        [X, ROWS],
        "a scatter of fewer rows than there are has no mfm form",
    ),
    "part of the source": (
        lambda x, i: x.scatter(1, i, x),
        [X, ROWS],
        "a scatter of part of its source has no mfm form",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_it_stays_in_torch_and_says_why(convert: Any, case: str) -> None:
    function, inputs, reason = KEPT[case]
    assert convert(function, inputs).reasons == [reason]
