"""What a run with notes leaves: a later one, of other weights, keeps to its ranges and factors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.quantize import Quantize

TEXT = """
func.func @main(%x: tensor<50x16xf32>) -> tensor<50x8xf32> {
  %g = "mfm.parameter"() {parameter = "g"} : () -> tensor<16xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<16xf32>
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x16xf32>
  %n = "mfm.layer_norm"(%x, %g, %b) {epsilon = 1.0e-5 : f64}
      : (tensor<50x16xf32>, tensor<16xf32>, tensor<16xf32>) -> tensor<50x16xf32>
  %y = "mfm.linear"(%n, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
      : (tensor<50x16xf32>, tensor<8x16xf32>) -> tensor<50x8xf32>
  return %y : tensor<50x8xf32>
}
"""


@pytest.mark.parametrize("options", [{}, {"ranges": "mse"}, {"weights": 4}])
def test_units_hold_for_other_weights(options: dict[str, Any]) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((50, 16)).astype(np.float32)
    weights = {
        "g": np.ones(16, np.float32),
        "b": np.zeros(16, np.float32),
        "w": generator.standard_normal((8, 16)).astype(np.float32),
    }
    with create_context(), ir.Location.unknown():
        calibrated = ir.Module.parse(TEXT)
        compilation = Compilation(weights, calibration={"main": [[x]]})
        Calibrate().run(calibrated, compilation)

        def quantized(change: Any, notes: bool = False, fresh: bool = False) -> tuple[str, Any]:
            module = ir.Module.parse(str(calibrated))
            units = {} if fresh else compilation.units
            own = replace(
                compilation, parameters=weights | {"w": weights["w"] * change}, units=units
            )
            Quantize(**options, notes=notes).run(module, own)
            (norm,) = (name for name in own.parameters if name.endswith("layer_norm.scales"))
            return str(module), own.parameters[norm]

        text, first = quantized(1, notes=True)
        assert set(compilation.units) == {"main.argument0", "main.3", "main.4"}
        change = np.linspace(1, 30, 16, dtype=np.float32)
        again, kept = quantized(change)
        assert np.array_equal(first, kept)
        # All of the graph but the notes themselves: scales, shifts and multipliers.
        assert again == text.replace(' {mfm.stands_for = "main.4"}', "").replace(
            ', mfm.stands_for = "main.3"', ""
        )
        assert not np.array_equal(first, quantized(change, fresh=True)[1])
