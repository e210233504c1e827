"""Layouts: where units lie in a tensor, against tensors that hold their units' numbers."""

from __future__ import annotations

import numpy as np
import pytest

from girih.passes.pruning.layout import Layout, reshaped, take

COUNT = 3


def numbered(sizes: tuple[int, ...], layout: Layout) -> np.ndarray:
    """A tensor of which every element is the number of its unit."""
    along = np.arange(sizes[layout.axis]) // layout.block % COUNT
    shape = [-1 if axis == layout.axis else 1 for axis in range(len(sizes))]
    return np.broadcast_to(along.reshape(shape), sizes)


@pytest.mark.parametrize(
    ("source", "layout", "target", "expected"),
    [
        ((2, 5, 12), Layout(2, 1, 4), (2, 5, 3, 4), Layout(2)),
        ((2, 5, 12), Layout(2, 1, 4), (2, 5, 6, 2), Layout(2, 1, 2)),
        ((2, 5, 3, 4), Layout(2), (10, 12), Layout(1, 1, 4)),
        ((5, 3, 4), Layout(1), (60,), Layout(0, 5, 4)),
        ((60,), Layout(0, 5, 4), (5, 3, 1, 4), Layout(1)),
        ((5, 24), Layout(1, 2, 4), (5, 2, 3, 4), Layout(2)),
        ((5, 24), Layout(1, 2, 4), (5, 6, 4), Layout(1, 2)),
        ((5, 12), Layout(1, 1, 4), (5, 2, 6), None),
        ((5, 12), Layout(1, 4), (5, 4, 3), Layout(2)),
        ((5, 3), Layout(1), (3, 5), None),
    ],
)
def test_units_stay_units_through_a_reshape(
    source: tuple[int, ...], layout: Layout, target: tuple[int, ...], expected: Layout | None
) -> None:
    assert reshaped(layout, COUNT, source, target) == expected
    if expected is not None:
        moved = numbered(source, layout).reshape(target)
        np.testing.assert_array_equal(moved, numbered(target, expected))
        assert reshaped(expected, COUNT, target, source) == layout


def test_elements_and_sums_are_those_of_the_units() -> None:
    layout = Layout(0, 2, 2)
    units = numbered((12,), layout)
    kept = layout.elements(np.array([0, 2]), COUNT)
    assert kept.tolist() == [0, 1, 4, 5, 6, 7, 10, 11]
    assert units[kept].tolist() == [0, 0, 2, 2, 0, 0, 2, 2]
    np.testing.assert_array_equal(layout.per_unit(np.arange(12), COUNT), [14, 22, 30])


def test_what_is_one_in_memory_stays_a_view() -> None:
    whole = np.broadcast_to(np.float32(1), (4, 6))
    part = take(whole, np.array([1, 3]), 1)
    assert part.shape == (4, 2)
    assert np.shares_memory(part, whole)
