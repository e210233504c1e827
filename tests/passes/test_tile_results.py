"""Results that are something else too: arguments, weights, other results, states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from girih.runtime.target import Target

MakeTarget = Callable[..., Target]


def noise(seed: int, *shape: int, dtype: Any = np.int8) -> Any:
    """Random integers over the whole range of a type."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape, dtype)


def test_results_that_lie_elsewhere_are_copied(graph: Any, make_target: MakeTarget) -> None:
    g = graph([noise(1, 9, 40), noise(2, 5, 3, dtype=np.int16)])
    x, y = g.arguments
    weight = g.parameter(noise(3, 7, 3))
    product = g.linear(x, 24)
    g.finish(
        product,
        y,
        product,
        weight,
        g.reshape(y, 15),
        g.rescale(y, "i8"),
        g.reshape(product, 24, 9),
        weight,
        g.rescale(weight, "i16"),
    )
    g.check(make_target())


def test_a_large_argument_is_copied_in_parts(graph: Any, make_target: MakeTarget) -> None:
    g = graph([noise(1, 3, 20000)])
    g.finish(g.arguments[0], g.rescale(g.arguments[0], "i16"))
    g.check(make_target(scratchpad_bytes=4096))


def run_with_states(g: Any, target: Target) -> tuple[list[Any], dict[str, Any]]:
    """Results that are not states, and the states after the run."""
    compiled = g.compile(target)
    results, _ = compiled.run()
    states = {
        tensor.name: compiled.machine.read_array(tensor.address, tensor.shape, tensor.dtype)
        for tensor in compiled.kernel.dram
        if tensor.role == "state"
    }
    return results, states


def test_a_state_is_read_whole_before_it_changes(graph: Any, make_target: MakeTarget) -> None:
    """The result is computed first, from the old state, and last in the text."""
    g = graph([noise(1, 1, 20, 6), np.array([7], np.int64), noise(2, 1, 1, 6)], states=["cache"])
    cache, position, row = g.arguments
    updated = g.cache_update(cache, position, row)
    g.finish(updated, g.rescale(cache, "i16"), updated, states=["cache"])
    expected = g.reference()
    results, states = run_with_states(g, make_target())
    np.testing.assert_array_equal(states["cache"], expected[0])
    np.testing.assert_array_equal(results[0], expected[1])
    np.testing.assert_array_equal(results[1], expected[2])


def test_a_state_that_does_not_change_stays(graph: Any, make_target: MakeTarget) -> None:
    g = graph([noise(1, 4, 6)], states=["kept"])
    g.finish(g.arguments[0], g.rescale(g.arguments[0], "i16"), states=["kept"])
    expected = g.reference()
    results, states = run_with_states(g, make_target())
    np.testing.assert_array_equal(states["kept"], expected[0])
    np.testing.assert_array_equal(results[0], expected[1])


def test_a_state_that_nothing_was_before_is_written_at_once(
    graph: Any, make_target: MakeTarget
) -> None:
    g = graph([noise(1, 4, 6)])
    g.finish(g.rescale(g.arguments[0], "i16"), states=["made"])
    expected = g.reference()
    results, states = run_with_states(g, make_target())
    assert not results
    np.testing.assert_array_equal(states["made"], expected[0])
