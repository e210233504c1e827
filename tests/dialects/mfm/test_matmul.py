"""Products of activations: rules, torch's meaning, and IREE within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from girih.dialects import mfm

QUICK = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(
    ("operands", "result", "transposed", "problem"),
    [
        (["3x4xf32", "5x4xf32"], "3x5xf32", 0, "rhs has shape [5, 4], expected [4, 4]"),
        (["3x4xf32", "4x5xf32"], "3x5xf32", 1, "rhs has shape [4, 5], expected [4, 4]"),
        (["2x3x4xf32", "4x5xf32"], "2x3x5xf32", 0, "rhs has shape [4, 5], expected [2, 4, 5]"),
        (["3x4xf32", "4x5xf32"], "3x4xf32", 0, "result has shape [3, 4], expected [3, 5]"),
        (["3x4xi8", "4x5xf32"], "3x5xf32", 0, "lhs has element type i8, expected f32"),
        (["4xf32", "4x5xf32"], "5xf32", 0, "lhs has rank 1, expected at least 2"),
    ],
)
def test_is_refused(
    operations: Any, operands: list[str], result: str, transposed: int, problem: str
) -> None:
    text = f"transposed = {transposed} : i64"
    assert problem in operations.problems("matmul", operands, result, text)


@pytest.mark.parametrize("transposed", [0, 1])
def test_is_torchs(operations: Any, transposed: int) -> None:
    rng = np.random.default_rng(0)
    lhs, rhs = (rng.standard_normal(s).astype(np.float32) for s in ((2, 3, 5, 7), (2, 3, 7, 4)))
    expected = torch.matmul(torch.from_numpy(lhs), torch.from_numpy(rhs)).numpy()
    rhs = rhs.swapaxes(-1, -2) if transposed else rhs
    text = f"transposed = {transposed} : i64"
    found = operations.run("matmul", [lhs, rhs], "2x3x5x4xf32", text)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_iree_agrees(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for batch in ((), (3,), (2, 3)):
        for transposed in (0, 1):
            rows, depth, columns = (int(n) for n in rng.choice([1, 2, 7, 16, 33, 65], 3))
            inner = (columns, depth) if transposed else (depth, columns)
            parity.add(
                lambda x, y, s=(*batch, rows, columns), t=transposed: mfm.MatmulOp(
                    lhs=x,
                    rhs=y,
                    transposed=tools.integer(t),
                    result=tools.tensor_type(s, np.float32),
                ),
                rng.standard_normal((*batch, rows, depth)).astype(np.float32),
                rng.standard_normal((*batch, *inner)).astype(np.float32),
                tolerance=2e-5,
            )
    parity.check()
