"""Layer norm: rules, meaning, and the error of the integer form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects import mfm

SEEDS = st.integers(0, 2**32 - 1)
FLOAT = "epsilon = 1.0e-05 : f64"
INTEGER = "epsilon = {} : i64, shift = {} : i64"


def test_layer_norm_is_accepted(operations: Any) -> None:
    assert operations.problems("layer_norm", ["4x8xf32", "8xf32", "8xf32"], "4x8xf32", FLOAT) == []


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["4x8xf16", "8xf32", "8xf32"], "4x8xf16", "x has element type f16, expected f32"),
        (["4x8xf32", "4xf32", "8xf32"], "4x8xf32", "gamma has shape [4], expected [8]"),
        (["4x8xf32", "8xf32", "1x8xf32"], "4x8xf32", "beta has shape [1, 8], expected [8]"),
        (["4x8xf32", "8xf32", "8xf32"], "4xf32", "result has shape [4], expected [4, 8]"),
        (["f32", "f32", "f32"], "f32", "x has rank 0, expected at least 1"),
    ],
)
def test_layer_norm_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert operations.problems("layer_norm", operands, result, FLOAT) == [problem]


@pytest.mark.parametrize(
    ("x", "parameters", "result", "attributes", "problem"),
    [
        ("4x8xi8", "2x8xi32", "4x8xi8", (1, 1), "x has element type i8, expected i16"),
        (
            "4x8xi16",
            "2x8xi32",
            "4x8xi32",
            (1, 1),
            "result has element type i32, expected i8 or i16",
        ),
        ("4x8xi16", "3x8xi32", "4x8xi8", (1, 1), "parameters has shape [3, 8], expected [2, 8]"),
        ("4x8xi16", "2x8xi32", "8x8xi8", (1, 1), "result has shape [8, 8], expected [4, 8]"),
        ("4x8xi16", "2x8xi32", "4x8xi8", (1, 0), "shift is 0, expected 1 to 62"),
        ("4x8xi16", "2x8xi32", "4x8xi8", (1, 63), "shift is 63, expected 1 to 62"),
        ("4x8xi16", "2x8xi32", "4x8xi8", (0, 9), "epsilon is 0, expected 1 to 2^40"),
        (
            "4x8xi16",
            "2x8xi32",
            "4x8xi8",
            (2**40, 9),
            "epsilon is 1099511627776, expected 1 to 2^40",
        ),
        (
            "1x65537xi16",
            "2x65537xi32",
            "1x65537xi8",
            (1, 1),
            "normalizes 65537 channels, expected at most 65536",
        ),
    ],
)
def test_integer_layer_norm_is_refused(
    operations: Any,
    x: str,
    parameters: str,
    result: str,
    attributes: tuple[int, int],
    problem: str,
) -> None:
    text = INTEGER.format(*attributes)
    assert operations.problems("integer_layer_norm", [x, parameters], result, text) == [problem]


def test_integer_layer_norm_is_accepted(operations: Any) -> None:
    for result in ("2x4x8xi8", "2x4x8xi16"):
        operands, text = ["2x4x8xi16", "2x8xi32"], INTEGER.format(2**40 - 1, 62)
        assert operations.problems("integer_layer_norm", operands, result, text) == []


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, width=st.integers(1, 300))
def test_layer_norm_is_torchs(operations: Any, seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(), 2, (3, 4, width)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, width), np.float32)
    found = operations.run("layer_norm", [x, gamma, beta], f"3x4x{width}xf32", FLOAT)
    expected = torch.nn.functional.layer_norm(
        torch.from_numpy(x), (width,), torch.from_numpy(gamma), torch.from_numpy(beta), 1e-5
    ).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def integer_layer_norm(
    operations: Any, x: Any, gamma: Any, beta: Any, epsilon: int, out: float, element: str
) -> Any:
    """gamma and beta real, as the page's step 7 scales them, with the largest shift that fits."""
    room = min(
        46 - math.log2(max(np.abs(gamma).max() / out, 1e-30)),
        38 - math.log2(max(np.abs(beta).max() / out, 1e-30)),
    )
    shift = min(max(math.floor(room), 1), 46)
    rows = [gamma / out * 2.0 ** (shift - 16), beta / out * 2.0 ** (shift - 8)]
    parameters = np.rint(rows).astype(np.int32)
    sizes = "x".join(map(str, x.shape))
    text = INTEGER.format(epsilon, shift)
    return operations.run("integer_layer_norm", [x, parameters], f"{sizes}x{element}", text)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, width=st.integers(2, 800), deviation=st.sampled_from([1, 30, 1000, 12000]))
def test_integer_layer_norm_is_close(
    operations: Any, seed: int, width: int, deviation: int
) -> None:
    """docs/numerics.md, integer_layer_norm: sigma here in units of x."""
    rng = np.random.default_rng(seed)
    offset = rng.integers(-5000, 5000)
    x = np.clip(np.rint(rng.normal(offset, deviation, (4, width))), -32768, 32767).astype(np.int16)
    gamma, beta = rng.normal(1, 0.3, width), rng.normal(0, 0.5, width)
    wide = x.astype(np.float64)
    sigma = np.sqrt(wide.var(axis=1, keepdims=True) + 1 / 256)
    normalized = (wide - wide.mean(axis=1, keepdims=True)) / sigma
    exact = normalized * gamma + beta
    for element, largest in (("i8", 127), ("i16", 32767)):
        out = np.abs(exact).max() / largest
        found = integer_layer_norm(operations, x, gamma, beta, 1, out, element)
        relative = 2.0**-14 / sigma + 2.0**-8 / sigma**2 + 2.0**-28 * sigma
        before = 1 / (32 * sigma) + 2.0**-17 + np.abs(normalized) * relative
        # The parameters are rounded too, to 2^-8 of the output's unit and far finer.
        bound = out * (1 / 2 + 2.0**-6) + np.abs(gamma) * before
        assert (np.abs(found * out - exact) <= bound).all()


def test_rows_without_variance_give_beta(operations: Any) -> None:
    """Whatever the constant is: the mean is exact, so nothing is left to normalize."""
    x = np.repeat(np.array([[-32768], [0], [1], [32767]], np.int16), 7, axis=1)
    beta = np.linspace(-1, 1, 7)
    found = integer_layer_norm(operations, x, np.ones(7), beta, 1, 1 / 127, "i8")
    np.testing.assert_array_equal(found, np.tile(np.rint(beta * 127), (4, 1)))


def test_epsilon_counts_where_variance_is_small(operations: Any) -> None:
    """Epsilon is in squared sixteenths of a unit."""
    x = np.array([[1, -1] * 4], np.int16)
    found = integer_layer_norm(operations, x, np.ones(8), np.zeros(8), 3 * 256, 1 / 100, "i8")
    np.testing.assert_array_equal(found, [[50, -50] * 4])


def test_the_widest_row_of_extremes(operations: Any) -> None:
    """One channel apart from 65535 others: the largest normalized value there can be, 256."""
    x = np.full((1, 65536), -32768, np.int16)
    x[0, 0] = 32767
    gamma, beta = np.ones(65536), np.zeros(65536)
    found = integer_layer_norm(operations, x, gamma, beta, 1, 256 / 32767, "i16")
    exact = 32767 * math.sqrt(65535) / 256
    # Its mean is two units above the lowest value: half a sixteenth of rounding, over sigma 256.
    assert abs(int(found[0, 0]) - exact) <= 2
    assert np.abs(found[0, 1:].astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("operands", "result", "problem"),
    [
        (["4x8xi16", "8xf32"], "4x8xf32", "x has element type i16, expected f32"),
        (["4x8xf32", "4xf32"], "4x8xf32", "gamma has shape [4], expected [8]"),
        (["4x8xf32", "8xf32"], "4xf32", "result has shape [4], expected [4, 8]"),
    ],
)
def test_rms_norm_is_refused(
    operations: Any, operands: list[str], result: str, problem: str
) -> None:
    assert problem in operations.problems("rms_norm", operands, result, FLOAT)


def test_rms_norm_is_torchs_and_irees(operations: Any, tools: Any) -> None:
    rng = np.random.default_rng(0)
    parity = tools.parity()
    for sizes, size in (((3, 8), 1.0), ((2, 5, 33), 1e-4), ((1,), 1e4), ((4, 257), 1.0)):
        x = (size * rng.standard_normal(sizes)).astype(np.float32)
        gamma = rng.standard_normal(sizes[-1:]).astype(np.float32)
        shape = "x".join(map(str, sizes))
        found = operations.run("rms_norm", [x, gamma], f"{shape}xf32", FLOAT)
        parts = torch.from_numpy(x), sizes[-1:], torch.from_numpy(gamma), 1e-5
        expected = torch.nn.functional.rms_norm(*parts).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        parity.add(
            lambda v, g, s=sizes: mfm.RmsNormOp(
                x=v,
                gamma=g,
                epsilon=tools.real(1e-5),
                result=tools.tensor_type(s, np.float32),
            ),
            x,
            gamma,
            tolerance=2e-5,
        )
    parity.check()
