"""Calibration inputs and episodes: who runs how often, and what is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.examples import run_examples, runs_of
from girih.passes.functions import functions_by_name

TEXT = """
func.func @count(%x: tensor<2xf32>, %s: tensor<2xf32> {mfm.state = "sum"})
    -> (tensor<2xf32>, tensor<2xf32> {mfm.state = "sum"}) {
  %0 = "mfm.add"(%x, %s) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
  %1 = "mfm.multiply_scalar"(%0) {factor = 2.0 : f64} : (tensor<2xf32>) -> tensor<2xf32>
  return %1, %0 : tensor<2xf32>, tensor<2xf32>
}
"""
ONE = np.ones(2, np.float32)


def test_examples_come_with_their_states_and_episodes_carry_them() -> None:
    compilation = Compilation(
        calibration={"count": [[ONE, 5 * ONE]]},
        episodes=[[("count", [ONE]), ("count", [ONE])], [("count", [ONE])]],
    )
    assert runs_of(compilation) == {"count": 4}
    doubled: list[float] = []
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        Calibrate().run(module, compilation)
        functions = functions_by_name(module)
        operations = list(functions["count"].entry_block.operations)
        product = operations[1].operation.result

        def record(name: str, value: ir.Value, array: Any) -> None:
            assert name == "count"
            if value == product:
                doubled.append(float(array[0]))

        run_examples(functions, compilation, record)
    assert doubled == [12, 2, 4, 2]
