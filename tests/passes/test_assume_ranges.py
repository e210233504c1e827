"""Assumed ranges stand where calibrated ones would."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.pipeline import run_passes
from girih.passes.assume_ranges import AssumeRanges
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate

TEXT = """
func.func @f(%x: tensor<2x4xf32>, %i: tensor<2xi64>) -> tensor<2x8xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<8x4xf32>
  %0 = "mfm.linear"(%x, %w) {operandSegmentSizes = array<i32: 1, 1, 0>}
    : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
"""


def annotated(which: AssumeRanges | Calibrate) -> tuple[str, dict[str, tuple[int, ...]]]:
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        compilation = Compilation({"w": np.ones((8, 4), np.float32)})
        run_passes(module, [which], compilation)
        shapes = {name: each.shape for name, each in compilation.statistics.items()}
        return str(module), shapes


def test_the_same_names_and_shapes_as_calibration_gives() -> None:
    assert annotated(AssumeRanges()) == annotated(Calibrate(random=1))
