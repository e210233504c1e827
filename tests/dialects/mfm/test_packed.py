"""Unpack: weights of 4 bits in groups, what they mean, and that IREE means the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects import arithmetic
from girih.dialects.mfm import UnpackOp


def test_unpack_is_accepted(operations: Any) -> None:
    assert operations.problems("unpack", ["3x34xi8"], "3x64xi8") == []


@pytest.mark.parametrize(
    ("operand", "result", "problem"),
    [
        ("3x34xi16", "3x64xi8", "x has element type i16, expected i8"),
        ("3x33xi8", "3x64xi8", "x has shape [3, 33], expected [3, 34]"),
        ("3x17xi8", "3x40xi8", "result has 40 columns, expected whole groups of 32"),
    ],
)
def test_unpack_is_refused(operations: Any, operand: str, result: str, problem: str) -> None:
    assert operations.problems("unpack", [operand], result) == [problem]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), groups=st.integers(1, 5))
def test_unpacked_is_weight_times_scale(operations: Any, seed: int, rows: int, groups: int) -> None:
    """Every weight of a group times its scale; what leaves a byte's range stays at its end."""
    random = np.random.default_rng(seed)
    weights = random.integers(-8, 8, (rows, 32 * groups), np.int8)
    scales = random.integers(0, 128, (rows, groups), np.int8)
    packed = arithmetic.pack_groups(weights, scales)
    assert packed.shape == (rows, 17 * groups)
    found = operations.run("unpack", [packed], f"{rows}x{32 * groups}xi8")
    exact = weights.astype(np.int64) * np.repeat(scales.astype(np.int64), 32, axis=1)
    np.testing.assert_array_equal(found, np.clip(exact, -128, 127))


def test_any_bytes_are_weights(operations: Any) -> None:
    """Scales that no quantizer writes have a meaning too: machines must agree on it."""
    packed = np.arange(-128, 128, dtype=np.int8)[:, None].repeat(17, axis=1)
    found = operations.run("unpack", [packed], "256x32xi8")
    low = ((packed[:, 1:].astype(np.int64) + 8) & 15) - 8
    high = packed[:, 1:].astype(np.int64) >> 4
    exact = np.concatenate([low, high], axis=1) * packed[:, :1].astype(np.int64)
    np.testing.assert_array_equal(found, np.clip(exact, -128, 127))


def test_iree_unpacks_the_same(tools: Any) -> None:
    """Any bytes, one row and many, one group and several."""
    parity = tools.parity()
    random = np.random.default_rng(4)
    for rows, groups in ((1, 1), (3, 2), (17, 12), (256, 5)):
        packed = random.integers(-128, 128, (rows, 17 * groups), np.int8)

        def build(x: Any, sizes: tuple[int, int] = (rows, 32 * groups)) -> Any:
            return UnpackOp(x=x, result=tools.tensor_type(sizes, np.int8))

        parity.add(build, packed)
    parity.check()
