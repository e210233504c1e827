"""Concatenation, padding and broadcasting: rules and the same elements on IREE."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.assembly import MOST_PARTS

QUICK = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = [np.bool_, np.int8, np.int16, np.int64, np.float32]


@pytest.mark.parametrize(
    ("operands", "result", "axis", "problem"),
    [
        (["2x3xf32", "2x4xf32"], "2x6xf32", 1, "result has shape [2, 6], expected [2, 7]"),
        (["2x3xf32", "3x3xf32"], "2x6xf32", 1, "part 1 has shape [3, 3], which does not fit"),
        (["2x3xf32", "2x3xi32"], "2x6xf32", 1, "part 1 has element type i32, expected f32"),
        (["2x3xf32", "2x3xf32"], "2x6xf32", 2, "axis is 2, expected one of 2 axes"),
    ],
)
def test_concatenate_is_refused(
    operations: Any, operands: list[str], result: str, axis: int, problem: str
) -> None:
    segments = ", ".join(["1", "1"] + ["0"] * (MOST_PARTS - 2))
    text = f"axis = {axis} : i64, operandSegmentSizes = array<i32: {segments}>"
    found = operations.problems("concatenate", operands, result, text)
    assert any(each.startswith(problem) for each in found)


@pytest.mark.parametrize(
    ("name", "result", "attributes", "problem"),
    [
        (
            "pad",
            "4x3xf32",
            "low = array<i64: 1, 0>, high = array<i64: 1, -1>, value = 0.0 : f64",
            "low [1, 0] and high [1, -1] are not counts for 2 axes",
        ),
        (
            "pad",
            "2x3xf32",
            "low = array<i64: 1, 0>, high = array<i64: 1, 0>, value = 0.0 : f64",
            "result has shape [2, 3], expected [4, 3]",
        ),
        ("broadcast", "2x4xf32", "", "x of shape [2, 3] does not broadcast to [2, 4]"),
        ("broadcast", "5x2x3xi8", "", "result has element type i8, expected f32"),
    ],
)
def test_other_assembly_is_refused(
    operations: Any, name: str, result: str, attributes: str, problem: str
) -> None:
    assert problem in operations.problems(name, ["2x3xf32"], result, attributes)


@QUICK
@given(seed=st.integers(0, 2**32 - 1))
def test_iree_moves_the_same_elements(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for dtype in DTYPES:
        sizes = [int(size) for size in rng.choice([1, 2, 3, 17], 3)]
        axis, count = int(rng.integers(3)), int(rng.choice([1, 2, 3, MOST_PARTS]))
        parts = list[Any]()
        for _ in range(count):
            own = sizes.copy()
            own[axis] = int(rng.integers(1, 6))
            parts.append(rng.integers(-100, 100, own).astype(dtype))
        total = sizes.copy()
        total[axis] = sum(part.shape[axis] for part in parts)
        parity.add(
            lambda *x, a=axis, s=total, d=dtype: mfm.ConcatenateOp.of(
                x, tools.tensor_type(s, d), tools.integer(a)
            ),
            *parts,
        )
        low, high = (rng.integers(0, 4, 3).tolist() for _ in range(2))
        padded = [a + size + b for a, size, b in zip(low, sizes, high, strict=True)]
        fill = float("-inf") if dtype is np.float32 else 1.0
        parity.add(
            lambda x, lo=low, hi=high, s=padded, d=dtype, f=fill: mfm.PadOp(
                x=x,
                low=ir.DenseI64ArrayAttr.get(lo),
                high=ir.DenseI64ArrayAttr.get(hi),
                value=tools.real(f),
                result=tools.tensor_type(s, d),
            ),
            rng.integers(-100, 100, sizes).astype(dtype),
        )
        single = [1 if rng.random() < 0.5 else size for size in sizes]
        parity.add(
            lambda x, s=[2, *sizes], d=dtype: mfm.BroadcastOp(x=x, result=tools.tensor_type(s, d)),
            rng.integers(-100, 100, single).astype(dtype),
        )
    parity.check()
