"""Functions of one number: rules, their error against float64, and the same bits on IREE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch_mlir import ir

from girih.dialects import curves, mfm
from girih.dialects.mfm.unary import UNARY

EXTREMES = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        3.4e38,
        -3.4e38,
        1.2e-38,
        -1.2e-38,
        1e-45,
        -1e-40,
    ]
    + [
        88.7,
        88.8,
        -87.3,
        -87.4,
        -103.9,
        -104.1,
        127.9,
        -128.1,
        2.0**24,
        2.0**24 - 1,
        1e30,
        0.5,
        2.5,
    ],
    np.float32,
)


def arguments(seed: int = 0) -> Any:
    """Float32 of every size, ordinary ones, and extremes."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << 32, 3000, np.uint32).view(np.float32)
    ordinary = (rng.standard_normal(3001) * rng.choice([0.01, 1, 10, 1000], 3001)).astype(
        np.float32
    )
    return np.concatenate([EXTREMES, bits, ordinary])


@pytest.mark.parametrize(
    ("operand", "result", "function", "problem"),
    [
        ("4xf32", "4xf32", "gamma", "function is 'gamma', expected one of absolute, "),
        ("4xi8", "4xi8", "exp", "x has element type i8, expected f32"),
        ("4xi8", "4xi8", "logical_not", "x has element type i8, expected i1"),
        (
            "4xf32",
            "4xf32",
            "bitwise_not",
            "x has element type f32, expected i8 or i16 or i32 or i64",
        ),
        ("4xf32", "4xi8", "exp", "result has element type i8, expected f32"),
        ("4xf32", "5xf32", "exp", "result has shape [5], expected [4]"),
    ],
)
def test_is_refused(
    operations: Any, operand: str, result: str, function: str, problem: str
) -> None:
    found = operations.problems("unary", [operand], result, f'function = "{function}"')
    assert found[0].startswith(problem)


EXACT = {
    "ceil": np.ceil,
    "cosine": np.cos,
    "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "exp": np.exp,
    "floor": np.floor,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "log": np.log,
    "quick_gelu": lambda x: x * special.expit(1.702 * x),
    "reciprocal": lambda x: 1 / x,
    "round": np.round,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": special.expit,
    "silu": lambda x: x * special.expit(x),
    "sine": np.sin,
    "softplus": lambda x: np.logaddexp(x, 0),
    "sqrt": np.sqrt,
    "tanh": np.tanh,
}


@pytest.mark.parametrize("name", curves.CURVES)
def test_curve_is_right_to_the_last_bit(operations: Any, name: str) -> None:
    x = arguments(1)
    with np.errstate(all="ignore"):
        x[np.abs(x) < curves.SMALLEST] = 0  # the definition flushes
        if name in ("sine", "cosine"):
            x = x[np.abs(x) < curves.LARGEST_ANGLE]
        if name in ("silu", "quick_gelu", "hard_swish"):
            x = x[~np.isneginf(x)]
        expected = EXACT[name](x.astype(np.float64)).astype(np.float32)
        expected[np.abs(expected) < curves.SMALLEST] = 0
    found = operations.run("unary", [x], f"{x.size}xf32", f'function = "{name}"')
    np.testing.assert_array_max_ulp(
        np.nan_to_num(found, nan=7.0), np.nan_to_num(expected, nan=7.0), maxulp=1
    )
    # The float64 value is so near that rounding seldom differs.
    assert np.mean((found != expected) & ~np.isnan(expected)) < 1e-3


TORCH = {
    "absolute": torch.abs,
    "bitwise_not": torch.bitwise_not,
    "elu": torch.nn.functional.elu,
    "erf": torch.erf,
    "hard_swish": torch.nn.functional.hardswish,
    "logical_not": torch.logical_not,
    "negate": torch.neg,
    "relu": torch.relu,
    "softplus": torch.nn.functional.softplus,
}


@pytest.mark.parametrize("name", TORCH)
def test_is_torchs(operations: Any, name: str) -> None:
    x = np.random.default_rng(2).standard_normal(500) * 3
    for spelling in UNARY[name][1]:
        dtype = {"f32": np.float32, "i1": np.bool_}.get(spelling, f"int{spelling[1:]}")
        given = x.astype(dtype)
        found = operations.run("unary", [given], f"500x{spelling}", f'function = "{name}"')
        expected = TORCH[name](torch.from_numpy(given)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        assert found.dtype == expected.dtype


def test_iree_has_the_same_bits(tools: Any) -> None:
    parity = tools.parity()
    x = arguments(3)
    for name in sorted(UNARY):
        for spelling in UNARY[name][1]:
            if spelling == "f32":
                given = x
            elif spelling == "i1":
                given = x > 0
            else:
                dtype = np.dtype(f"int{spelling[1:]}")
                given = np.random.default_rng(4).integers(-128, 128, 100).astype(dtype)
                given[0] = np.iinfo(dtype).min
            if name not in curves.CURVES and spelling == "f32":
                given = given[~(np.abs(given) < curves.SMALLEST)]  # IREE flushes; these pass
            # A vector loop and its remainder, and a single number.
            for part in (given, given[5:6]):
                parity.add(
                    lambda v, name=name, part=part: mfm.UnaryOp(
                        x=v,
                        result=tools.tensor_type(part.shape, part.dtype),
                        function=ir.StringAttr.get(name),
                    ),
                    part,
                    tolerance=4e-6 if name == "erf" else 0.0,
                )
    parity.check()
