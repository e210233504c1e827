"""Functions of two tensors: rules, torch's meaning at the extremes, and the same bits on IREE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.binary import FUNCTIONS, LOGICAL

QUICK = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHAPES = [((3, 5), (3, 5)), ((2, 1, 7), (4, 1)), ((), (2, 2)), ((1,), (1,)), ((33,), ())]
EXTREMES = np.array(
    [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 3.4e38, -1e-45, 16777217.0], np.float32
)


@pytest.mark.parametrize(
    ("operands", "result", "function", "problem"),
    [
        (["4xf32", "4xf32"], "4xf32", "hypotenuse", "function is 'hypotenuse', expected one of"),
        (["4xi32", "4xi32"], "4xi32", "power", "lhs has element type i32, which power does"),
        (["4xf32", "4xf32"], "4xf32", "and", "lhs has element type f32, which and does not take"),
        (["4xi1", "4xi1"], "4xi1", "multiply", "lhs has element type i1, which multiply does"),
        (["4xf32", "4xi32"], "4xf32", "multiply", "rhs has element type i32, expected f32"),
        (["4xf32", "4xf32"], "4xi1", "multiply", "result has element type i1, expected f32"),
        (["4xf32", "3xf32"], "4xf32", "multiply", "rhs of shape [3] does not broadcast to [4]"),
        (["1xf32", "1xf32"], "4xf32", "multiply", "result has shape [4], expected [1]"),
    ],
)
def test_is_refused(
    operations: Any, operands: list[str], result: str, function: str, problem: str
) -> None:
    found = operations.problems("binary", operands, result, f'function = "{function}"')
    assert any(each.startswith(problem) for each in found)


TORCH = {
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "power": torch.pow,
}


@pytest.mark.parametrize("function", TORCH)
def test_is_torchs_at_the_extremes(operations: Any, function: str) -> None:
    lhs, rhs = EXTREMES[:, None], EXTREMES[None]
    found = operations.run("binary", [lhs, rhs], "10x10xf32", f'function = "{function}"')
    expected = TORCH[function](torch.from_numpy(lhs), torch.from_numpy(rhs)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("function", "rounding"), [("divide", "trunc"), ("floor_divide", "floor")])
def test_integers_divide_as_torchs(operations: Any, function: str, rounding: str) -> None:
    """And division by zero, which torch refuses, is 0."""
    lhs, rhs = np.arange(-9, 10)[:, None], np.array([[-4, -1, 1, 3]])
    found = operations.run("binary", [lhs, rhs], "19x4xi64", f'function = "{function}"')
    left, right = torch.from_numpy(lhs), torch.from_numpy(rhs)
    expected = torch.div(left, right, rounding_mode=rounding).numpy()
    np.testing.assert_array_equal(found, expected)
    zero = operations.run("binary", [lhs, rhs * 0], "19x4xi64", f'function = "{function}"')
    assert not zero.any()


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_iree_has_the_same_bits(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for function in FUNCTIONS:
        dtypes: list[Any] = [np.int8, np.int32, np.int64]
        dtypes += [np.bool_] if function in LOGICAL else [np.float32]
        for dtype in [np.float32] if function == "power" else dtypes:
            lhs, rhs = SHAPES[int(rng.integers(len(SHAPES)))]
            sizes = np.broadcast_shapes(lhs, rhs)
            left, right = (operand(rng, dtype, extents) for extents in (lhs, rhs))
            if function == "power":
                # Powers of whole numbers are within a unit in the last place.
                left, right = np.abs(left) + 0.5, np.clip(right, -3, 3)
            parity.add(
                lambda x, y, f=function, d=dtype, s=sizes: mfm.BinaryOp(
                    lhs=x,
                    rhs=y,
                    function=ir.StringAttr.get(f),
                    result=tools.tensor_type(s, d),
                ),
                left,
                right,
                tolerance=1e-5 if function == "power" else 0,
            )
    parity.check()


def operand(rng: np.random.Generator, dtype: Any, sizes: tuple[int, ...]) -> Any:
    """Ordinary numbers, zeros among them; of integers, the extremes too."""
    if dtype is np.float32:
        return np.round(rng.standard_normal(sizes) * 3, 1).astype(np.float32)
    if dtype is np.bool_:
        return np.asarray(rng.random(sizes) < 0.5)
    limits = np.iinfo(dtype)
    ordinary = rng.integers(-5, 6, sizes)
    extreme = rng.choice([limits.min + 1, limits.max], sizes)
    return np.asarray(np.where(rng.random(sizes) < 0.2, extreme, ordinary), dtype)
