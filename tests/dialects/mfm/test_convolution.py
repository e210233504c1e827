"""Convolutions: rules, meaning, and the error of the integer form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects.arithmetic import scale_to_multiplier
from girih.dialects.mfm.linear import MAXIMUM_DEPTH

SEEDS = st.integers(0, 2**32 - 1)
WINDOW = "kernel = {} : i64, stride = {} : i64, padding = {} : i64"
K3S2P1 = WINDOW.format(3, 2, 1)


def test_conv1d_is_accepted(operations: Any) -> None:
    assert operations.problems("conv1d", ["2x9x4xf32", "5x12xf32"], "2x5x5xf32", K3S2P1) == []
    operands = ["2x9x4xf32", "5x12xf32", "5xf32"]
    assert operations.problems("conv1d", operands, "2x5x5xf32", K3S2P1) == []
    operands = ["2x9x4xi8", "5x12xi8", "3x5xi32"]
    for result in ("2x5x5xi8", "2x5x5xi16"):
        assert operations.problems("integer_conv1d", operands, result, K3S2P1) == []


@pytest.mark.parametrize(
    ("x", "weight", "result", "window", "problem"),
    [
        ("9x4", "5x12", "2x5x5", (3, 2, 1), "x has rank 2, expected 3"),
        ("2x9x4", "5x3x4", "2x5x5", (3, 2, 1), "weight has rank 3, expected 2"),
        ("2x9x4", "5x4", "2x5x5", (3, 2, 1), "weight has shape [5, 4], expected [5, 12]"),
        ("2x9x4", "5x12", "2x9x5", (3, 2, 1), "result has shape [2, 9, 5], expected [2, 5, 5]"),
        ("2x9x4", "5x12", "2x5x5", (3, 0, 1), "has kernel 3, stride 0, padding 1"),
        ("2x9x4", "5x12", "2x5x5", (3, 2, -1), "has kernel 3, stride 2, padding -1"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(
    operations: Any, x: str, weight: str, result: str, window: tuple[int, ...], problem: str
) -> None:
    text = WINDOW.format(*window)
    operands = [f"{x}xf32", f"{weight}xf32"]
    assert operations.problems("conv1d", operands, f"{result}xf32", text) == [problem]
    operands = [f"{x}xi8", f"{weight}xi8", "3x5xi32"]
    assert operations.problems("integer_conv1d", operands, f"{result}xi8", text) == [problem]


def test_conv1d_checks_its_bias_and_element(operations: Any) -> None:
    operands = ["2x9x4xf16", "5x12xf32", "4xf32"]
    assert operations.problems("conv1d", operands, "2x5x5xf32", K3S2P1) == [
        "x has element type f16, expected f32",
        "bias has shape [4], expected [5]",
    ]


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["2x9x4xi16", "5x12xi8", "3x5xi32"], "2x5x5xi8", "x has element type i16, expected i8"),
        (
            ["2x9x4xi8", "5x12xi16", "3x5xi32"],
            "2x5x5xi8",
            "weight has element type i16, expected i8",
        ),
        (
            ["2x9x4xi8", "5x12xi8", "3x5xi32"],
            "2x5x5xi32",
            "result has element type i32, expected i8 or i16",
        ),
        (
            ["2x9x4xi8", "5x12xi8", "2x5xi32"],
            "2x5x5xi8",
            "parameters has shape [2, 5], expected [3, 5]",
        ),
    ],
)
def test_integer_conv1d_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert operations.problems("integer_conv1d", operands, result, K3S2P1) == [problem]


def test_integer_conv1d_bounds_its_sums(operations: Any) -> None:
    channels = MAXIMUM_DEPTH // 3 + 1
    operands = [f"1x3x{channels}xi8", f"1x{3 * channels}xi8", "3x1xi32"]
    found = operations.problems("integer_conv1d", operands, "1x1x1xi8", WINDOW.format(3, 1, 0))
    assert found == [f"sums {3 * channels} products, expected at most {MAXIMUM_DEPTH} to fit int32"]


SIZES = st.tuples(*[st.integers(1, 4)] * 2, st.integers(0, 3), st.integers(1, 9))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, sizes=SIZES)
def test_conv1d_is_torchs(operations: Any, seed: int, sizes: tuple[int, ...]) -> None:
    """Channels last and tap-major here, channels first there."""
    kernel, stride, padding, channels = sizes
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, kernel + 6, channels)).astype(np.float32)
    weight = rng.standard_normal((5, kernel, channels)).astype(np.float32)
    bias = rng.standard_normal(5).astype(np.float32)
    expected = torch.nn.functional.conv1d(
        torch.from_numpy(x).transpose(1, 2),
        torch.from_numpy(weight).transpose(1, 2),
        torch.from_numpy(bias),
        stride=stride,
        padding=padding,
    )
    expected = expected.transpose(1, 2).numpy()
    inputs = [x, weight.reshape(5, -1), bias]
    text = WINDOW.format(kernel, stride, padding)
    found = operations.run("conv1d", inputs, f"2x{expected.shape[1]}x5xf32", text)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, sizes=SIZES)
def test_integer_conv1d_is_half_a_unit_from_exact(
    operations: Any, seed: int, sizes: tuple[int, ...]
) -> None:
    kernel, stride, padding, channels = sizes
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (2, kernel + 6, channels), np.int8)
    weight = rng.integers(-128, 128, (5, kernel * channels), np.int8)
    bias = rng.integers(-1000, 1000, 5)
    factors = 10.0 ** rng.uniform(-4, -1, 5)
    multiplier, shift = np.array([scale_to_multiplier(factor) for factor in factors]).T
    steps = (kernel + 6 + 2 * padding - kernel) // stride + 1
    text = WINDOW.format(kernel, stride, padding)
    parameters = np.stack([bias, multiplier, shift]).astype(np.int32)
    inputs = [x, weight, parameters]
    found = operations.run("integer_conv1d", inputs, f"2x{steps}x5xi16", text)
    real = [x.astype(np.float32), weight.astype(np.float32), bias.astype(np.float32)]
    sums = operations.run("conv1d", real, f"2x{steps}x5xf32", text).astype(np.float64)
    exact = np.clip(sums * factors, -32768, 32767)
    assert np.abs(found - exact).max() <= 0.5 + 1e-4
