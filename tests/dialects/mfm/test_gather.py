"""Reads and writes at positions known at run time: rules, refusals, the same elements on IREE."""

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
AXIS = "axis = 1 : i64"


@pytest.mark.parametrize(
    ("name", "operands", "result", "problem"),
    [
        ("take", ["2x5xf32", "3xf32"], "2x3xf32", "indices has element type f32, expected i32 or"),
        ("take", ["2x5xf32", "3xi64"], "2x5xf32", "result has shape [2, 5], expected [2, 3]"),
        ("take", ["5xf32", "3xi64"], "3xf32", "axis is 1, expected one of 1 axes"),
        ("gather", ["2x5xf32", "2x3xi32"], "2x3xf32", "indices has element type i32, expected i64"),
        ("gather", ["2x5xf32", "3x3xi64"], "3x3xf32", "indices of shape [3, 3] reach beyond [2"),
        ("gather", ["2x5xf32", "3xi64"], "3xf32", "indices have shape [3] along axis 1 of [2, 5]"),
        (
            "scatter_rows",
            ["2x5xf32", "3xi64", "2x2xf32"],
            "2x5xf32",
            "rows has shape [2, 2], expected [2, 3]",
        ),
        (
            "scatter_rows",
            ["2x5xf32", "1x3xi64", "2x3xf32"],
            "2x5xf32",
            "indices of shape [1, 3] do not fit axis 1",
        ),
    ],
)
def test_is_refused(
    operations: Any, name: str, operands: list[str], result: str, problem: str
) -> None:
    found = operations.problems(name, operands, result, AXIS)
    assert any(each.startswith(problem) for each in found)


@pytest.mark.parametrize(
    ("operands", "problem"),
    [
        (["4xf32", "4xi8", "4xf32"], "mask has element type i8, expected i1"),
        (["4xf32", "3xi1", "4xf32"], "mask has shape [3], expected [4]"),
        (["4xf32", "4xi1", "4xi32"], "source has element type i32, expected f32"),
        (["4xf32", "4xi1", "0xf32"], "source has no elements"),
    ],
)
def test_masked_scatter_is_refused(operations: Any, operands: list[str], problem: str) -> None:
    assert problem in operations.problems("masked_scatter", operands, "4xf32")


@pytest.mark.parametrize(("name", "rows"), [("take", []), ("gather", []), ("scatter_rows", [1])])
def test_a_position_outside_is_an_error(operations: Any, name: str, rows: list[int]) -> None:
    x, indices = np.zeros((2, 5), np.float32), np.array([5])
    if name == "gather":
        indices = indices[None]
    operands = [x, indices, *[np.zeros((2, 1), np.float32) for _ in rows]]
    result = {"take": "2x1xf32", "gather": "1x1xf32", "scatter_rows": "2x5xf32"}[name]
    with pytest.raises(IndexError, match="an index of 5 to 5 is not in 5"):
        operations.run(name, operands, result, AXIS)


def test_too_few_elements_for_a_mask_are_an_error(operations: Any) -> None:
    x, mask = np.zeros(4, np.float32), np.ones(4, np.bool_)
    with pytest.raises(IndexError, match="the mask has 4 set elements, the source 3"):
        operations.run("masked_scatter", [x, mask, np.ones(3, np.float32)], "4xf32")


def test_they_are_torchs(operations: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 6)).astype(np.float32)
    indices = rng.integers(0, 6, (2, 4))
    theirs = torch.gather(torch.from_numpy(x), 1, torch.from_numpy(indices)).numpy()
    np.testing.assert_array_equal(operations.run("gather", [x, indices], "2x4xf32", AXIS), theirs)
    theirs = torch.from_numpy(x)[:, torch.from_numpy(indices)].numpy()
    np.testing.assert_array_equal(operations.run("take", [x, indices], "3x2x4xf32", AXIS), theirs)
    mask, source = x > 0, rng.standard_normal((5, 7)).astype(np.float32)
    parts = [torch.from_numpy(part) for part in (x, mask, source)]
    theirs = torch.Tensor.masked_scatter(*parts).numpy()
    found = operations.run("masked_scatter", [x, mask, source], "3x6xf32")
    np.testing.assert_array_equal(found, theirs)


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_iree_moves_the_same_elements(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for dtype in (np.int8, np.int16, np.int64, np.float32, np.bool_):
        sizes = [int(size) for size in rng.choice([1, 2, 5, 17], 3)]
        axis, count = int(rng.integers(3)), int(rng.integers(1, 9))
        x = rng.integers(-100, 100, sizes).astype(dtype)
        for indices in (rng.integers(0, sizes[axis], (count, 2)), np.array(sizes[axis] - 1)):
            taken = [*sizes[:axis], *indices.shape, *sizes[axis + 1 :]]
            parity.add(
                lambda x, i, a=axis, s=taken, d=dtype: mfm.TakeOp(
                    x=x, indices=i, axis=tools.integer(a), result=tools.tensor_type(s, d)
                ),
                x,
                indices,
            )
        found = [int(rng.integers(1, size + 1)) for size in sizes]
        found[axis] = count
        parity.add(
            lambda x, i, a=axis, s=found, d=dtype: mfm.GatherOp(
                x=x, indices=i, axis=tools.integer(a), result=tools.tensor_type(s, d)
            ),
            x,
            rng.integers(0, sizes[axis], found),
        )
        rows = sizes.copy()
        rows[axis] = count
        parity.add(
            lambda x, i, r, a=axis: mfm.ScatterRowsOp(
                x=x, indices=i, rows=r, axis=tools.integer(a), result=x.type
            ),
            x,
            # More rows than positions: some are written twice.
            rng.integers(0, sizes[axis], count),
            rng.integers(-100, 100, rows).astype(dtype),
        )
        mask = rng.random(sizes) < rng.choice([0.0, 0.5, 1.0])
        parity.add(
            lambda x, m, s: mfm.MaskedScatterOp(x=x, mask=m, source=s, result=x.type),
            x,
            mask,
            rng.integers(-100, 100, (int(mask.sum()) + int(rng.integers(1, 3)), 1)).astype(dtype),
        )
    parity.check()
