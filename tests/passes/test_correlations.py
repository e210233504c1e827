"""Sums of x^T x: over all runs, whatever the blocks that they are multiplied in."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.dialects.mfm.convolution import windows
from girih.passes.correlations import Correlations
from girih.passes.functions import functions_by_name

TEXT = """
func.func @f(%x: tensor<1x4x3xf32>) -> (tensor<1x4x2xf32>, tensor<1x4x2xf32>, tensor<1x4x1xf32>) {
  %a = "mfm.parameter"() {parameter = "a"} : () -> tensor<2x3xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<2x3xf32>
  %c = "mfm.parameter"() {parameter = "c"} : () -> tensor<1x9xf32>
  %0 = "mfm.linear"(%x, %a) {operandSegmentSizes = array<i32: 1, 1, 0>}
      : (tensor<1x4x3xf32>, tensor<2x3xf32>) -> tensor<1x4x2xf32>
  %1 = "mfm.linear"(%x, %b) {operandSegmentSizes = array<i32: 1, 1, 0>}
      : (tensor<1x4x3xf32>, tensor<2x3xf32>) -> tensor<1x4x2xf32>
  %2 = "mfm.conv1d"(%x, %c) {kernel = 3 : i64, stride = 1 : i64, padding = 1 : i64,
      operandSegmentSizes = array<i32: 1, 1, 0>}
      : (tensor<1x4x3xf32>, tensor<1x9xf32>) -> tensor<1x4x1xf32>
  return %0, %1, %2 : tensor<1x4x2xf32>, tensor<1x4x2xf32>, tensor<1x4x1xf32>
}
"""


def test_rows_of_all_runs_are_in_the_sum_of_each_weight() -> None:
    generator = np.random.default_rng(0)
    # More rows than are multiplied at a time, so that blocks and a rest are added.
    runs = [generator.standard_normal((1, 4, 3)).astype(np.float32) for _ in range(200)]
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        functions = functions_by_name(module)
        correlations = Correlations(functions.values())
        value = functions["f"].entry_block.arguments[0]
        for run in runs:
            correlations.add(value, run)
        found = correlations.sums()
    rows = np.concatenate(runs).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(found["a"], rows.T @ rows, rtol=1e-9)
    assert found["b"] is found["a"]
    wide = np.concatenate([windows(run, 3, 1, 1) for run in runs]).reshape(-1, 9)
    np.testing.assert_allclose(found["c"], wide.T.astype(np.float64) @ wide, rtol=1e-5, atol=1e-5)
