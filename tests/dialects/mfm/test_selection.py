"""Choice and conversion: rules, the edges of every element type, and the same bits on IREE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from girih.dialects import mfm

DTYPES = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.float32]


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["4xi8", "4xf32", "4xf32"], "4xf32", "condition has element type i8, expected i1"),
        (["4xi1", "4xf32", "4xi32"], "4xf32", "rhs has element type i32, expected f32"),
        (["4xi1", "4xf32", "4xf32"], "4xi32", "result has element type i32, expected f32"),
        (["3xi1", "4xf32", "4xf32"], "4xf32", "condition of shape [3] does not broadcast to [4]"),
    ],
)
def test_select_is_refused(operations: Any, operands: list[str], result: str, problem: str) -> None:
    assert problem in operations.problems("select", operands, result)


def test_convert_is_refused(operations: Any) -> None:
    found = operations.problems("convert", ["4xf32"], "5xi32")
    assert found == ["result has shape [5], expected [4]"]


def test_select_is_torchs(operations: Any) -> None:
    rng = np.random.default_rng(0)
    condition, lhs = rng.random((3, 1)) < 0.5, rng.standard_normal((1, 5)).astype(np.float32)
    rhs = np.array(np.nan, np.float32)
    found = operations.run("select", [condition, lhs, rhs], "3x5xf32")
    parts = (torch.from_numpy(np.asarray(part)) for part in (condition, lhs, rhs))
    np.testing.assert_array_equal(found, torch.where(*parts).numpy())


def test_floats_saturate(operations: Any) -> None:
    """Out of range is C's undefined behaviour: here it is the nearest integer, NaN is 0."""
    x = np.array([2.9, -2.9, np.nan, np.inf, -np.inf, 1e20, -1e20, 127.6, -129], np.float32)
    for element, dtype in (("i8", np.int8), ("i32", np.int32), ("i64", np.int64)):
        found = operations.run("convert", [x], f"9x{element}")
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        assert found[:7].tolist() == [2, -2, 0, high, low, high, low]
    assert operations.run("convert", [x], "9xi8")[7:].tolist() == [127, -128]


def edges(dtype: Any) -> Any:
    if dtype is np.bool_:
        return np.array([True, False])
    if dtype is np.float32:
        numbers = [0.0, -0.0, 0.5, -1.5, 127.9, -128.9, 2.0**31, -(2.0**63), np.inf, np.nan]
        return np.array(numbers, np.float32)
    return np.array([0, 1, -1, np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)


def test_iree_has_the_same_bits(tools: Any) -> None:
    """Every pair of element types at its edges; choices that broadcast."""
    rng = np.random.default_rng(1)
    parity = tools.parity()
    for source in DTYPES:
        x = edges(source)
        for target in DTYPES:
            parity.add(
                lambda v, sizes=x.shape, target=target: mfm.ConvertOp(
                    x=v, result=tools.tensor_type(sizes, target)
                ),
                x,
            )
    for dtype in DTYPES:
        for shapes in (((5,), (5,), (5,)), ((3, 1), (1, 7), ()), ((), (2, 33), (33,))):
            condition, lhs, rhs = shapes
            sizes = np.broadcast_shapes(*shapes)
            parity.add(
                lambda c, x, y, d=dtype, s=sizes: mfm.SelectOp(
                    condition=c, lhs=x, rhs=y, result=tools.tensor_type(s, d)
                ),
                np.asarray(rng.random(condition) < 0.5),
                np.asarray(rng.integers(0, 100, lhs)).astype(dtype),
                np.asarray(rng.integers(0, 100, rhs)).astype(dtype),
            )
    parity.check()
