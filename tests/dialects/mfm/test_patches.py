"""Sliding windows: rules, meaning as torch's, and the same elements from IREE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.patches import window_counts

NAMES = ("kernel", "stride", "padding", "dilation")


def attributes(*numbers: list[int]) -> str:
    pairs = zip(NAMES, numbers, strict=True)
    return ", ".join(f"{n} = array<i64: {', '.join(map(str, values))}>" for n, values in pairs)


WINDOW = ([3, 2], [2, 1], [1, 0], [1, 2])


@pytest.mark.parametrize("element", ["f32", "i8", "i16"])
def test_it_is_accepted(operations: Any, element: str) -> None:
    sizes = [f"2x5x6x4x{element}"], f"2x3x4x24x{element}"
    assert operations.problems("patches", *sizes, attributes(*WINDOW)) == []


@pytest.mark.parametrize(
    ("x", "result", "window", "problem"),
    [
        ("2x4xf32", "2x4xf32", WINDOW, "x has rank 2, expected at least 3"),
        (
            "2x5x6x4xf32",
            "2x3x4x24xi8",
            WINDOW,
            "result has element type i8, expected f32",
        ),
        (
            "2x5x6x4xf32",
            "2x3x4x4xf32",
            WINDOW,
            "result has shape [2, 3, 4, 4], expected [2, 3, 4, 24]",
        ),
        (
            "2x5x4xf32",
            "2x3x24xf32",
            WINDOW,
            "has kernel [3, 2], stride [2, 1], padding [1, 0], dilation [1, 2] for 1 axes",
        ),
        (
            "2x5x4xf32",
            "2x5x4xf32",
            ([1], [0], [0], [1]),
            "has kernel [1], stride [0], padding [0], dilation [1] for 1 axes",
        ),
        (
            "2x5x4xf32",
            "2x1x24xf32",
            ([6], [1], [0], [1]),
            "has no window of kernel [6], stride [1], padding [0], dilation [1] in [5]",
        ),
    ],
)
def test_it_is_refused(
    operations: Any, x: str, result: str, window: tuple[list[int], ...], problem: str
) -> None:
    assert operations.problems("patches", [x], result, attributes(*window)) == [problem]


@st.composite
def windows(draw: st.DrawFn, axes: int) -> tuple[list[int], ...]:
    """Sizes, kernel, stride, padding and dilation of a window that fits."""
    kernel, stride, padding, dilation = (
        draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))
        for low, high in ((1, 5), (1, 3), (0, 3), (1, 3))
    )
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [
        draw(st.integers(max(1, extent - 2 * p), extent + 6))
        for extent, p in zip(extents, padding, strict=True)
    ]
    return sizes, kernel, stride, padding, dilation


@settings(max_examples=60, deadline=None)
@given(window=windows(2), seed=st.integers(0, 2**32 - 1))
def test_it_is_torchs_unfold(operations: Any, window: tuple[list[int], ...], seed: int) -> None:
    """unfold (B, C taps, windows), channels first --> the taps, then their channels, last."""
    sizes, kernel, stride, padding, dilation = window
    x = np.random.default_rng(seed).standard_normal((2, *sizes, 3)).astype(np.float32)
    counts = window_counts(sizes, kernel, stride, padding, dilation)
    first = torch.from_numpy(x).permute(0, 3, 1, 2)
    columns = F.unfold(first, kernel, dilation, padding, stride)
    expected = columns.reshape(2, 3, -1, *counts).permute(0, 3, 4, 2, 1).reshape(2, *counts, -1)
    result = "x".join(map(str, expected.shape)) + "xf32"
    found = operations.run("patches", [x], result, attributes(*window[1:]))
    np.testing.assert_array_equal(found, expected.numpy())


def build(tools: Any, sizes: tuple[int, ...], window: tuple[list[int], ...], dtype: Any) -> Any:
    counts = window_counts(sizes[1:-1], *window)
    row = int(np.prod(window[0])) * sizes[-1]
    arrays = {name: list(numbers) for name, numbers in zip(NAMES, window, strict=True)}
    return lambda x: mfm.PatchesOp(
        x=x,
        result=tools.tensor_type([sizes[0], *counts, row], dtype),
        **{name: ir.DenseI64ArrayAttr.get(numbers) for name, numbers in arrays.items()},
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_iree_moves_the_same(tools: Any, axes: int) -> None:
    parity = tools.parity()

    @settings(max_examples=12, deadline=None, database=None)
    @given(window=windows(axes), seed=st.integers(0, 2**32 - 1))
    def collect(window: tuple[list[int], ...], seed: int) -> None:
        rng = np.random.default_rng(seed)
        dtype = [np.int8, np.int16, np.float32][seed % 3]
        sizes = (1 + seed % 2, *window[0], 1 + seed % 5)
        x = rng.integers(-100, 100, sizes).astype(dtype)
        parity.add(build(tools, sizes, window[1:], dtype), x)

    collect()
    parity.check()
