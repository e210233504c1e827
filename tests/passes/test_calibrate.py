"""Calibrate: the largest magnitude per channel of every float value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named
from girih.passes.statistics import STATISTICS, argument_key
from girih.runtime.errors import CompilationError

TEXT = """
func.func @f(%x: tensor<2x3xf32>, %t: tensor<1xi64>) -> tensor<1x3xf32> {
  %0 = "mfm.multiply_scalar"(%x) {factor = -2.0 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = "mfm.embedding"(%t, %0) : (tensor<1xi64>, tensor<2x3xf32>) -> tensor<1x3xf32>
  return %1 : tensor<1x3xf32>
}
func.func @g(%x: tensor<f32>) -> tensor<f32> {
  %0 = "mfm.add"(%x, %x) : (tensor<f32>, tensor<f32>) -> tensor<f32>
  return %0 : tensor<f32>
}
"""
G = [[np.float32(-3)]]


def calibrated(examples: list[list[Any]]) -> tuple[ir.Module, Compilation]:
    compilation = Compilation(calibration={"f": examples, "g": G})
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        Calibrate().run(module, compilation)
        assert module.operation.verify()
    return module, compilation


FIRST = np.array([[1, -2, 3], [0, 5, 0]], np.float32)
SECOND = np.array([[-4, 0, 0], [0, 0, 0]], np.float32)


def test_ranges_are_per_channel_over_all_examples() -> None:
    token = np.array([0])
    module, compilation = calibrated([[FIRST, token], [SECOND, token]])
    statistics = compilation.statistics
    function = function_named(module, "f")
    assert statistics[argument_key(function, 0)].tolist() == [4, 5, 3]
    scaled, looked_up, _ = function.entry_block.operations
    assert statistics[scaled.operation.attributes[STATISTICS].value].tolist() == [8, 10, 6]
    assert statistics[looked_up.operation.attributes[STATISTICS].value].tolist() == [8, 4, 6]


def test_integers_have_no_range_and_scalars_have_one() -> None:
    module, compilation = calibrated([[FIRST, np.array([1])]])
    assert argument_key(function_named(module, "f"), 1) not in compilation.statistics
    assert compilation.statistics[argument_key(function_named(module, "g"), 0)].tolist() == [3]


def test_functions_do_not_share_names() -> None:
    module, compilation = calibrated([[FIRST, np.array([1])]])
    assert {key.partition(".")[0] for key in compilation.statistics} == {"f", "g"}


def test_an_entry_without_examples_is_refused() -> None:
    with pytest.raises(CompilationError, match="entry 'f' has no calibration inputs"):
        calibrated([])


def test_random_examples_are_the_same_each_time() -> None:
    found: list[Any] = []
    for _ in range(2):
        compilation = Compilation()
        with create_context(), ir.Location.unknown():
            Calibrate(random=2).run(ir.Module.parse(TEXT), compilation)
        found.append({key: value.tolist() for key, value in compilation.statistics.items()})
    assert found[0] == found[1]


MULTIPLIED = """
func.func @f(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<3x3xf32>
  %0 = "mfm.multiply_scalar"(%x) {factor = 2.0 : f64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
    : (tensor<2x3xf32>, tensor<3x3xf32>) -> tensor<2x3xf32>
  return %1 : tensor<2x3xf32>
}
"""


def test_mean_squares_are_those_of_what_is_multiplied() -> None:
    """Pruning weighs channels by them; nothing else needs any."""
    compilation = Compilation({"w": np.eye(3, dtype=np.float32)})
    compilation.calibration = {"f": [[FIRST], [SECOND]]}
    with create_context(), ir.Location.unknown():
        Calibrate().run(ir.Module.parse(MULTIPLIED), compilation)
    assert {key: value.tolist() for key, value in compilation.squares.items()} == {
        "f.1": [(4 + 64) / 4, (16 + 100) / 4, 36 / 4]
    }


def test_a_second_run_forgets_the_first() -> None:
    """The graph, and with it the shapes, may have changed in between."""
    module, compilation = calibrated([[FIRST, np.array([1])]])
    compilation.calibration["f"] = [[SECOND, np.array([1])]]
    with module.context, ir.Location.unknown():
        Calibrate().run(module, compilation)
    function = function_named(module, "f")
    assert compilation.statistics[argument_key(function, 0)].tolist() == [4, 0, 0]


COUNTER = """
func.func @count(%x: tensor<3xf32>, %s: tensor<3xf32> {mfm.state = "sum"})
    -> (tensor<3xf32> {mfm.state = "sum"}) {
  %0 = "mfm.add"(%x, %s) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %0 : tensor<3xf32>
}
"""


def test_episodes_pass_states_on_and_start_empty() -> None:
    # Twice +1 and -4 in one episode, then +1 alone: the sum reaches 2 and -4, not the inputs' 1.
    one = [np.array([1, -4, 0], np.float32)]
    compilation = Compilation(episodes=[[("count", one), ("count", one)], [("count", one)]])
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(COUNTER)
        Calibrate().run(module, compilation)
        function = function_named(module, "count")
        assert compilation.statistics[argument_key(function, 0)].tolist() == [1, 4, 0]
        assert compilation.statistics[argument_key(function, 1)].tolist() == [1, 4, 0]
        added = function.entry_block.operations[0].operation.attributes[STATISTICS].value
        assert compilation.statistics[added].tolist() == [2, 8, 0]
