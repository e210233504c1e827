"""Ranges by percentile and by least error: of a histogram, and where a graph takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.differentiable.function import TorchFunction, Weights
from girih.passes.interpreter import function_named, interpret
from girih.passes.quantization.clipping import BINS, Histogram
from girih.passes.quantization.function import STANDS_FOR
from girih.passes.quantize import Quantize
from girih.passes.statistics import HIDDEN

Array = Any


def histogram(values: Array) -> Histogram:
    magnitudes = np.abs(values)
    made = Histogram(float(magnitudes.max()))
    for part in np.array_split(magnitudes, 3):
        made.add(part)
    return made


def mean_square(values: Array, largest: float) -> float:
    step = largest / 127
    return float(((values - step * np.clip(np.rint(values / step), -127, 127)) ** 2).mean())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), freedom=st.sampled_from([1.5, 2.0, 3.0, 30.0]))
def test_no_range_has_a_smaller_error(seed: int, freedom: float) -> None:
    """Of heavy tails and of light ones, within what bins and equal parts of a range can tell."""
    values = np.random.default_rng(seed).standard_t(freedom, 20000)
    largest = float(np.abs(values).max())
    found = mean_square(values, histogram(values).least_error())
    assert found <= 1.02 * min(
        mean_square(values, largest * part) for part in np.linspace(0.02, 1, 150)
    )


def test_a_rare_tail_is_cut_and_an_even_spread_is_not() -> None:
    """At 8 bits a single value is worth a step that is larger for 200000 others."""
    random = np.random.default_rng(0)
    normal, even = random.standard_normal(500_000), random.uniform(-1, 1, 20000)
    assert histogram(normal).least_error() < 0.9 * np.abs(normal).max()
    assert histogram(even).least_error() > 0.98


@pytest.mark.parametrize("percent", [50.0, 90.0, 99.99, 100.0])
def test_a_percentile_is_that_of_the_values_within_a_bin(percent: float) -> None:
    values = np.random.default_rng(1).standard_normal(5000)
    made = histogram(values)
    expected = np.percentile(np.abs(values), percent, method="inverted_cdf")
    assert expected <= made.percentile(percent) <= expected + 1.01 * made.largest / BINS


def test_zeros_and_what_hides_are_not_counted() -> None:
    """Rows of a cache that are not yet written, and scores of hidden keys, say nothing."""
    made = Histogram(1.0)
    made.add(np.array([0.0, 0.0, 0.25, HIDDEN, np.inf, np.nan]))
    assert made.counts.sum() == 1


TEXT = """
func.func @main(%x: tensor<400x32xf32>) -> tensor<400x8xf32> {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<32xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<32xf32>
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x32xf32>
  %0 = "mfm.layer_norm"(%x, %g, %b) {epsilon = 1.0e-5 : f64}
    : (tensor<400x32xf32>, tensor<32xf32>, tensor<32xf32>) -> tensor<400x32xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
    : (tensor<400x32xf32>, tensor<8x32xf32>) -> tensor<400x8xf32>
  return %1 : tensor<400x8xf32>
}
"""
NORM, PRODUCT = "main.3", "main.4"
"""Their places in the function, by which `calibrate` names them."""


class Graph:
    """A norm that a product reads, quantized; what came out of each of the two."""

    def __init__(self, **options: Any) -> None:
        random = np.random.default_rng(2)
        x = random.standard_t(3, (400, 32)).astype(np.float32)
        parameters: dict[str, Array] = {
            "g": random.uniform(0.2, 5, 32).astype(np.float32),
            "b": np.zeros(32, np.float32),
            "w": random.standard_normal((8, 32)).astype(np.float32),
        }
        compilation = Compilation(parameters, calibration={"main": [[x]]})
        with create_context(), ir.Location.unknown():
            module = ir.Module.parse(TEXT)
            (exact,) = interpret(function_named(module, "main"), [x], parameters)
            for each in (Calibrate(), Quantize(notes=True, **options)):
                each.run(module, compilation)
            function = function_named(module, "main")
            scales = [
                function.attributes[side][0]["mfm.scale"].value
                for side in ("arg_attrs", "res_attrs")
            ]
            self.argument_scale, self.result_scale = scales
            self.seen: dict[str, Array] = {}
            integers = np.rint(x / scales[0]).astype(np.int16)
            noted = TorchFunction(function, STANDS_FOR)
            noted([torch.from_numpy(integers)], Weights(compilation.parameters), self._see)
        self.error = float(np.square(self.seen[PRODUCT] * scales[1] - exact).mean())

    def _see(self, key: str, value: Tensor) -> Tensor:
        self.seen[key] = value.numpy()
        return value

    @property
    def saturated(self) -> float:
        """Share of what the product reads that lies at an end of int8."""
        return float((np.abs(self.seen[NORM].astype(int)) >= 127).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_a_share_saturates_also_where_channels_are_smoothed(smoothing: float) -> None:
    """The range is one of channels divided by their factors."""
    graph = Graph(smoothing=smoothing, ranges="percentile", percentile=90.0)
    assert graph.saturated == pytest.approx(0.1, abs=0.01)
    assert Graph(smoothing=smoothing).saturated < 0.001


def test_sixteen_bits_keep_the_largest() -> None:
    plain, clipped = Graph(), Graph(ranges="percentile", percentile=50.0)
    assert clipped.argument_scale == plain.argument_scale
    assert clipped.result_scale == plain.result_scale


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_the_least_error_is_one_of_the_result(smoothing: float) -> None:
    found = Graph(smoothing=smoothing, ranges="mse").error
    others = [
        Graph(smoothing=smoothing, ranges="percentile", percentile=each).error
        for each in (98.0, 99.5, 100.0)
    ]
    assert others[0] > 2 * found
    assert found < 1.05 * min(others)
