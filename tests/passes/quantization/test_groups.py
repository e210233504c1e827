"""Weights of 4 bits: the best integers of each group, and errors that make up for each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects.arithmetic import unpack_groups
from girih.passes.quantization.groups import pack_rows


def correlated(random: Any, rows: int, depth: int) -> Any:
    """Inputs whose channels go together, as those of a model do."""
    return random.standard_normal((rows, 5)) @ random.standard_normal(
        (5, depth)
    ) + 0.2 * random.standard_normal((rows, depth))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), groups=st.integers(1, 4))
def test_no_scale_is_better(seed: int, rows: int, groups: int) -> None:
    """Without correlations: every weight counts alike, and all scales of a group are tried."""
    random = np.random.default_rng(seed)
    weight = random.uniform(-127, 127, (rows, 32 * groups)) * random.random((rows, 1))
    found = unpack_groups(pack_rows(weight, np.ones(rows), None, False)).astype(np.float64)
    lost = ((weight - found) ** 2).reshape(rows, groups, 32).sum(axis=2)
    tried = [
        (weight - np.clip(np.clip(np.rint(weight / scale), -8, 7) * scale, -128, 127)) ** 2
        for scale in range(1, 19)
    ]
    least = np.min([each.reshape(rows, groups, 32).sum(axis=2) for each in tried], axis=0)
    np.testing.assert_allclose(lost, least)


@pytest.mark.parametrize("seed", range(5))
def test_compensation_lowers_the_products_error(seed: int) -> None:
    """On the inputs that it was told of, by a third at least."""
    random = np.random.default_rng(seed)
    x, weight = correlated(random, 200, 96), random.standard_normal((40, 96))
    scale = np.abs(weight).max(axis=1) / 127
    errors = [
        np.linalg.norm(x @ (unpack_groups(packed) * scale[:, None] - weight).T)
        for packed in (pack_rows(weight, scale, x.T @ x, each) for each in (False, True))
    ]
    assert errors[1] < 0.67 * errors[0]


def test_channels_that_are_always_zero_are_no_obstacle() -> None:
    """Their correlation has no inverse by itself."""
    random = np.random.default_rng(0)
    x, weight = correlated(random, 50, 64), random.standard_normal((3, 64))
    x[:, ::3] = 0
    for square in (x.T @ x, np.zeros((64, 64))):
        packed = pack_rows(weight, np.full(3, 0.03), square, True)
        assert np.abs(unpack_groups(packed) * 0.03 - weight).max() < 1


def test_weights_of_8_bits_in_range_lose_little() -> None:
    """A weight that is one of 16 levels is kept exactly."""
    weight = np.tile(np.arange(-8, 8), 4)[None].astype(np.float64) * 15
    np.testing.assert_array_equal(unpack_groups(pack_rows(weight, np.ones(1), None, True)), weight)
