"""Arrays that repeat one element: the same results as of ordinary ones, without their memory."""

from __future__ import annotations

import numpy as np
import pytest

from girih.dialects.mfm.hollow import elementwise, hollow, is_hollow, once, same
from girih.dialects.mfm.parameter import widened

SHAPE = (1 << 16, 1 << 16)


def test_only_repetition_is_hollow() -> None:
    assert is_hollow(hollow((3, 1), np.dtype(np.float32)))
    assert not is_hollow(np.zeros((3, 4)))
    assert not is_hollow(np.zeros(1))
    assert not is_hollow(np.broadcast_to(np.arange(4), (3, 4)))


def test_elements_are_computed_once() -> None:
    calls: list[int] = []
    wide = elementwise(
        lambda each: (calls.append(each.size), -each)[1], hollow(SHAPE, np.dtype("f4"))
    )
    assert calls == [1]
    assert wide.shape == SHAPE
    assert wide[7, 9] == np.float32(-0.37)


def test_narrow_weights_widen_without_memory() -> None:
    wide = widened(hollow(SHAPE, np.dtype(np.float16)))
    assert wide.dtype == np.float32
    assert is_hollow(wide)


def test_once_of_rows_that_repeat() -> None:
    rows = np.broadcast_to(np.arange(4), (3, 4))
    assert once(rows).shape == (1, 4)
    assert once(np.eye(3)).shape == (3, 3)


@pytest.mark.parametrize("other", [np.full((2, 3), 5), np.broadcast_to(5, (2, 3))])
def test_sameness_is_of_shape_and_elements(other: np.ndarray) -> None:
    assert same(np.broadcast_to(5, (2, 3)), other)
    assert not same(np.broadcast_to(6, (2, 3)), other)
    assert not same(np.broadcast_to(5, (3, 2)), other)
