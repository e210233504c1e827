"""Reductions, running sums and positions: rules, torch's meaning, the same on IREE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.dialects import mfm

QUICK = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
REDUCE = 'function = "{}", axes = array<i64: {}>'


@pytest.mark.parametrize(
    ("operand", "result", "attributes", "problem"),
    [
        ("4x5xf32", "4xf32", ("mean", "1"), "function is 'mean', expected one of sum, product"),
        ("4x5xf32", "4xi32", ("sum", "1"), "result has element type i32, expected f32"),
        ("4x5xf32", "5xf32", ("sum", "1"), "result has shape [5], expected [4]"),
        ("4x5xf32", "4x5xf32", ("sum", "2"), "axes are [2], expected ascending axes of a tensor"),
        ("4x5xf32", "f32", ("sum", "1, 0"), "axes are [1, 0], expected ascending axes"),
        ("4x5xf32", "4xf32", ("any", "1"), "x has element type f32, which any does not take"),
        ("4x5xi1", "4xi1", ("sum", "1"), "x has element type i1, which sum does not take"),
    ],
)
def test_reduce_is_refused(
    operations: Any, operand: str, result: str, attributes: tuple[str, str], problem: str
) -> None:
    found = operations.problems("reduce", [operand], result, REDUCE.format(*attributes))
    assert any(each.startswith(problem) for each in found)


@pytest.mark.parametrize(
    ("name", "result", "problem"),
    [
        ("cumulative_sum", "4x5xf32", "axis is 2, expected one of 2 axes"),
        ("argmax", "4xi64", "axis is 2, expected one of 2 axes"),
    ],
)
def test_an_axis_that_is_not_there_is_refused(
    operations: Any, name: str, result: str, problem: str
) -> None:
    assert operations.problems(name, ["4x5xf32"], result, "axis = 2 : i64") == [problem]


@pytest.mark.parametrize(
    ("function", "theirs"),
    [
        ("sum", torch.sum),
        ("maximum", torch.amax),
        ("minimum", torch.amin),
    ],
)
def test_reduce_is_torchs(operations: Any, function: str, theirs: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    found = operations.run("reduce", [x], "4xf32", REDUCE.format(function, "0, 2"))
    expected = theirs(torch.from_numpy(x), dim=(0, 2)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_first_of_several_largest(operations: Any) -> None:
    x = np.array([[1, 7, 7, 0], [5, 5, 5, 5]], np.float32)
    assert operations.run("argmax", [x], "2xi64", "axis = 1 : i64").tolist() == [1, 0]


def test_integers_wrap_around(operations: Any) -> None:
    x = np.full(3, np.iinfo(np.int32).max, np.int32)
    found = operations.run("reduce", [x], "i32", REDUCE.format("sum", "0"))
    assert found == np.int32(np.int64(3) * x[0] - (1 << 32))


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_iree_agrees(tools: Any, seed: int) -> None:
    """Integers equal; float products within 1e-5, the rest of the floats equal.

    Sums are of multiples of 1/64 that float32 adds exactly, in any order: what differs is wrong.
    """
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for function in ("sum", "product", "maximum", "minimum", "any", "all"):
        logical = function in ("any", "all")
        for dtype in [np.bool_] if logical else [np.int32, np.int64, np.float32]:
            sizes = [int(size) for size in rng.choice([1, 2, 3, 17, 33], 3)]
            axes = sorted(rng.permutation(3)[: rng.integers(1, 4)].tolist())
            kept = [size for axis, size in enumerate(sizes) if axis not in axes]
            x = values(rng, dtype, sizes)
            if function == "product":
                x = np.clip(x, -1.1, 1.1).astype(dtype)
            if function == "sum" and dtype is np.float32:
                x = added_exactly(x)
            inexact = dtype is np.float32 and function == "product"
            parity.add(
                lambda v, f=function, a=axes, k=kept, d=dtype: mfm.ReduceOp(
                    x=v,
                    function=ir.StringAttr.get(f),
                    axes=ir.DenseI64ArrayAttr.get(a),
                    result=tools.tensor_type(k, d),
                ),
                x,
                tolerance=1e-5 if inexact else 0,
            )
    for dtype in (np.int32, np.int64, np.float32):
        sizes = [int(size) for size in rng.choice([1, 2, 5, 33], 3)]
        axis = int(rng.integers(3))
        parity.add(
            lambda v, a=axis, s=sizes, d=dtype: mfm.CumulativeSumOp(
                x=v, axis=tools.integer(a), result=tools.tensor_type(s, d)
            ),
            added_exactly(values(rng, dtype, sizes)),
        )
        kept = sizes[:axis] + sizes[axis + 1 :]
        parity.add(
            lambda v, a=axis, s=kept: mfm.ArgmaxOp(
                x=v, axis=tools.integer(a), result=tools.tensor_type(s, np.int64)
            ),
            values(rng, dtype, sizes),
        )
    parity.check()


def added_exactly(x: Any) -> Any:
    """Floats as multiples of 1/64 up to 7: 33 ** 3 of them add up to less than 2 ** 24 / 64."""
    return np.round(np.clip(x, -7, 7) * 64).astype(x.dtype) / 64 if x.dtype == np.float32 else x


def values(rng: np.random.Generator, dtype: Any, sizes: list[int]) -> Any:
    if dtype is np.bool_:
        return rng.random(sizes) < 0.7
    if dtype is np.float32:
        return rng.standard_normal(sizes).astype(np.float32)
    # Few values, so that the largest occurs more than once.
    return rng.integers(-4, 5, sizes).astype(dtype)
