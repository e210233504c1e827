"""Fold constants: what depends on weights alone becomes a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.fold_constants import FoldConstants
from girih.passes.interpreter import function_named, interpret

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def folded(text: str, parameters: dict[str, Any], *inputs: Any) -> tuple[list[str], dict[str, Any]]:
    """Names of the operations that are left (parameters by their own name), and the archive."""
    with create_context():
        module = ir.Module.parse(text)
    function = function_named(module, "f")
    compilation = Compilation(dict(parameters))
    before = interpret(function, inputs, parameters)
    with module.context:
        FoldConstants().run(module, compilation)
        assert module.operation.verify()
    after = interpret(function, inputs, compilation.parameters)
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)
    names = [
        op.parameter.value if op.operation.name == "mfm.parameter" else op.operation.name
        for op in function.entry_block.operations
    ]
    for name, array in parameters.items():
        np.testing.assert_array_equal(compilation.parameters[name], array)
    return names[:-1], compilation.parameters


def lookup(result: str) -> str:
    rows = result.split("x")[0]
    return f"""
    func.func @f() -> tensor<{result}> {{
      %i = "mfm.parameter"() {{parameter = "i"}} : () -> tensor<{rows}xi64>
      %t = "mfm.parameter"() {{parameter = "t"}} : () -> tensor<4x3xf32>
      %0 = "mfm.embedding"(%i, %t) : (tensor<{rows}xi64>, tensor<4x3xf32>) -> tensor<{result}>
      return %0 : tensor<{result}>
    }}"""


def test_a_lookup_of_positions_is_a_weight() -> None:
    names, parameters = folded(lookup("2x3xf32"), {"i": np.array([3, 1]), "t": TABLE})
    assert names == ["t.embedding"]
    np.testing.assert_array_equal(parameters["t.embedding"], TABLE[[3, 1]])


def test_a_lookup_of_every_position_is_the_table_itself() -> None:
    """Whisper's encoder adds its whole table of positions: no second copy of it."""
    names, parameters = folded(lookup("4x3xf32"), {"i": np.arange(4), "t": TABLE})
    assert names == ["t"]
    assert set(parameters) == {"i", "t"}


def test_folding_never_grows_the_program() -> None:
    """Many rows of a table of four: cheaper to look up at run time."""
    rows = np.zeros(30000, np.int64)
    names, parameters = folded(lookup("30000x3xf32"), {"i": rows, "t": TABLE})
    assert names == ["i", "t", "mfm.embedding"]
    assert set(parameters) == {"i", "t"}


def test_folded_weights_fold_again() -> None:
    text = """
    func.func @f() -> tensor<12xf32> {
      %t = "mfm.parameter"() {parameter = "t"} : () -> tensor<4x3xf32>
      %0 = "mfm.transpose"(%t) {permutation = array<i64: 1, 0>}
        : (tensor<4x3xf32>) -> tensor<3x4xf32>
      %1 = "mfm.reshape"(%0) : (tensor<3x4xf32>) -> tensor<12xf32>
      return %1 : tensor<12xf32>
    }"""
    names, parameters = folded(text, {"t": TABLE})
    assert names == ["t.transpose.reshape"]
    np.testing.assert_array_equal(parameters[names[0]], TABLE.T.ravel())


def test_a_name_that_is_taken_is_not_overwritten() -> None:
    text = """
    func.func @f() -> (tensor<3x4xf32>, tensor<12xf32>) {
      %t = "mfm.parameter"() {parameter = "t"} : () -> tensor<4x3xf32>
      %u = "mfm.parameter"() {parameter = "t.reshape"} : () -> tensor<12xf32>
      %0 = "mfm.reshape"(%t) : (tensor<4x3xf32>) -> tensor<3x4xf32>
      return %0, %u : tensor<3x4xf32>, tensor<12xf32>
    }"""
    names, _ = folded(text, {"t": TABLE, "t.reshape": np.ones(12, np.float32)})
    assert sorted(names) == ["t.reshape", "t.reshape_"]


def test_what_reads_an_argument_stays() -> None:
    text = """
    func.func @f(%x: tensor<3xf32>) -> tensor<3xf32> {
      %t = "mfm.parameter"() {parameter = "t"} : () -> tensor<3xf32>
      %0 = "mfm.add"(%x, %t) : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
      return %0 : tensor<3xf32>
    }"""
    names, _ = folded(text, {"t": TABLE[0]}, np.ones(3, np.float32))
    assert names == ["t", "mfm.add"]
