"""Activation-aware factors: less error of products with weights of 4 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named, interpret
from girih.passes.quantization.rules import NodeRule
from girih.passes.quantize import Quantize

Array = Any

TEXT = """
func.func @main(%x: tensor<200x64xf32>) -> (tensor<200x48xf32>, tensor<200x16xf32>) {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<64xf32>
  %w = "mfm.parameter"() {parameter = "up.weight"} : () -> tensor<48x64xf32>
  %v = "mfm.parameter"() {parameter = "gate.weight"} : () -> tensor<16x64xf32>
  %0 = "mfm.rms_norm"(%x, %g) {epsilon = 1.0e-5 : f64}
    : (tensor<200x64xf32>, tensor<64xf32>) -> tensor<200x64xf32>
  %1 = "mfm.linear"(%0, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
    : (tensor<200x64xf32>, tensor<48x64xf32>) -> tensor<200x48xf32>
  %2 = "mfm.linear"(%0, %v) {operandSegmentSizes = array<i32: 1, 1, 0>}
    : (tensor<200x64xf32>, tensor<16x64xf32>) -> tensor<200x16xf32>
  return %1, %2 : tensor<200x48xf32>, tensor<200x16xf32>
}
"""


def errors(uneven: float, correlations: bool = False, **options: Any) -> list[float]:
    """Relative square errors of both products; channels differ in size by e^(N(0, uneven))."""
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 64)) @ random.standard_normal((64, 64)) / 8
    inputs = [x.astype(np.float32)]
    parameters: dict[str, Array] = {
        "g": np.exp(random.normal(0, uneven, 64)).astype(np.float32),
        "up.weight": random.standard_normal((48, 64)).astype(np.float32),
        "gate.weight": random.standard_normal((16, 64)).astype(np.float32),
    }
    compilation = Compilation(parameters, calibration={"main": [inputs]})
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        exact = interpret(function_named(module, "main"), inputs, parameters)
        Calibrate(correlations=correlations).run(module, compilation)
        Quantize(compensates=correlations, **options).run(module, compilation)
        function = function_named(module, "main")
        scale = function.attributes["arg_attrs"][0]["mfm.scale"].value
        integers = [np.rint(inputs[0] / scale).astype(np.int16)]
        found = interpret(function, integers, compilation.parameters)
        scales = [each["mfm.scale"].value for each in function.attributes["res_attrs"]]
    return [
        float(((one * scale - other) ** 2).sum() / (other**2).sum())
        for one, other, scale in zip(found, exact, scales, strict=True)
    ]


@pytest.mark.parametrize("correlations", [False, True])
def test_products_lose_less_than_without_factors(correlations: bool) -> None:
    """With what GPTQ makes up for, and with each weight rounded to its nearest."""
    options: dict[str, Any] = {"weights": 4, "smoothing": 0.0}
    plain = errors(1.0, correlations, **options)
    aware = errors(1.0, correlations, scaling="activation-aware", **options)
    assert sum(aware) < 0.8 * sum(plain)


def test_products_lose_no_more_than_by_smoothing() -> None:
    """Balancing ranges is made for 8 bits on both sides; the search is for these."""
    smooth = errors(1.0, weights=4, smoothing=0.5)
    aware = errors(1.0, weights=4, scaling="activation-aware")
    assert sum(aware) < sum(smooth)


def test_even_channels_stay_as_they_are() -> None:
    """Among the factors that are tried is none."""
    plain = errors(0.0, weights=4, smoothing=0.0)
    aware = errors(0.0, weights=4, smoothing=0.0, scaling="activation-aware")
    assert sum(aware) <= 1.02 * sum(plain)


def test_what_8_bits_read_is_smoothed() -> None:
    assert errors(1.0, scaling="activation-aware") == errors(1.0)


def test_a_reader_of_8_bits_counts_by_its_own_error() -> None:
    """One factor serves both."""
    rules = (NodeRule(match="gate", weights=8),)
    options: dict[str, Any] = {"weights": 4, "smoothing": 0.0, "rules": rules}
    plain = errors(1.0, **options)
    aware = errors(1.0, scaling="activation-aware", **options)
    assert sum(aware) < sum(plain)
    assert aware[1] < 1e-3
