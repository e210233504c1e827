"""Softmax: rules, torch's meaning at the extremes, and IREE within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from girih.dialects import mfm

ROWS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [88.0, -88.0, 0.0, 1.0],
        [1e4, 1e4 - 1, -1e4, 0.0],
        [-np.inf, 0.0, 1.0, -np.inf],
        [-3e38, 3e38, 0.0, 0.0],
        [-np.inf, -np.inf, -np.inf, -np.inf],
        [np.nan, 0.0, 0.0, 0.0],
    ],
    np.float32,
)


@pytest.mark.parametrize(
    ("operand", "result", "problem"),
    [
        ("4xi8", "4xf32", "x has element type i8, expected f32"),
        ("4xf32", "5xf32", "result has shape [5], expected [4]"),
        ("f32", "f32", "x has rank 0, expected at least 1"),
    ],
)
def test_is_refused(operations: Any, operand: str, result: str, problem: str) -> None:
    assert problem in operations.problems("softmax", [operand], result)


def test_is_torchs_at_the_extremes(operations: Any) -> None:
    """A row of -inf alone is NaN in torch, too."""
    expected = torch.softmax(torch.from_numpy(ROWS), -1).numpy()
    with np.errstate(all="ignore"):
        found = operations.run("softmax", [ROWS], "7x4xf32")
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)


def test_iree_agrees(tools: Any) -> None:
    rng = np.random.default_rng(0)
    parity = tools.parity()
    shapes = ((1,), (33,), (3, 1), (2, 5, 17), (2, 3, 4, 129))
    for x in (ROWS[:5], *(3 * rng.standard_normal(s).astype(np.float32) for s in shapes)):
        parity.add(
            lambda v, s=x.shape: mfm.SoftmaxOp(x=v, result=tools.tensor_type(s, np.float32)),
            x,
            tolerance=4e-6,
        )
    parity.check()
