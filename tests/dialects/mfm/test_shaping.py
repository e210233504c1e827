"""Operations that move elements: rules and meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "operand", "result", "attributes", "problem"),
    [
        ("reshape", "4x6xf32", "5x5xf32", "", "cannot reshape [4, 6] to [5, 5]"),
        ("reshape", "4x6xf32", "24xi8", "", "result has element type i8, expected f32"),
        (
            "transpose",
            "4x6xi8",
            "6x4xi8",
            "permutation = array<i64: 0, 0>",
            "permutation is [0, 0], expected an order of 0 to 1",
        ),
        (
            "transpose",
            "4x6xi8",
            "4x6xi8",
            "permutation = array<i64: 1, 0>",
            "result has shape [4, 6], expected [6, 4]",
        ),
        (
            "transpose",
            "4x6xi8",
            "6x4xi16",
            "permutation = array<i64: 1, 0>",
            "result has element type i16, expected i8",
        ),
        (
            "slice",
            "4x6xi8",
            "2x3xi8",
            "offsets = array<i64: 0>, strides = array<i64: 1>",
            "has 1 offsets and 1 strides for rank 2",
        ),
        (
            "slice",
            "4x6xi8",
            "2x3xi8",
            "offsets = array<i64: 0, 2>, strides = array<i64: 1, 2>",
            "reads elements 2 to 6 of axis 1, which has 6",
        ),
        (
            "slice",
            "4x6xi8",
            "2x3xi8",
            "offsets = array<i64: -1, 0>, strides = array<i64: 1, 1>",
            "reads elements -1 to 0 of axis 0, which has 4",
        ),
        (
            "slice",
            "4x6xi8",
            "2x3xi16",
            "offsets = array<i64: 0, 0>, strides = array<i64: 1, 1>",
            "result has element type i16, expected i8",
        ),
    ],
)
def test_refused(
    operations: Any, name: str, operand: str, result: str, attributes: str, problem: str
) -> None:
    assert operations.problems(name, [operand], result, attributes) == [problem]


def test_reshape_keeps_the_order(operations: Any) -> None:
    x = np.arange(24).reshape(4, 6)
    found = operations.run("reshape", [x], "2x3x4xi64")
    np.testing.assert_array_equal(found, torch.from_numpy(x).reshape(2, 3, 4).numpy())
    assert operations.run("reshape", [x[:1, :1]], "i64").shape == ()


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(4)))
def test_transpose_is_permute(operations: Any, order: list[int]) -> None:
    x = np.arange(120).reshape(2, 3, 4, 5)
    expected = torch.from_numpy(x).permute(order).numpy()
    sizes = "x".join(map(str, expected.shape))
    text = f"permutation = array<i64: {', '.join(map(str, order))}>"
    found = operations.run("transpose", [x], f"{sizes}xi64", text)
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 9), step=st.integers(1, 4), data=st.data())
def test_slice_is_torchs(operations: Any, start: int, step: int, data: Any) -> None:
    """Every count that fits, up to the very last element."""
    x = np.arange(30).reshape(3, 10)
    count = data.draw(st.integers(1, (9 - start) // step + 1))
    text = f"offsets = array<i64: 1, {start}>, strides = array<i64: 1, {step}>"
    found = operations.run("slice", [x], f"2x{count}xi64", text)
    expected = torch.from_numpy(x)[1:, start::step][:, :count]
    np.testing.assert_array_equal(found, expected.numpy())
