"""Fold attention scale: a factor on queries or keys becomes part of the attention's own."""

from __future__ import annotations

import numpy as np
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.fold_attention_scale import FoldAttentionScale
from girih.passes.interpreter import function_named, interpret

SIGNATURE = "%q: tensor<2x3x8xf32>, %k: tensor<2x5x2x4xf32>, %v: tensor<2x5x2x4xf32>"
ATTENTION = (
    '"mfm.attention"(%qs, %ks, %v) {scale = 0.5 : f64, causal = 0 : i64, '
    "operandSegmentSizes = array<i32: 1, 1, 1, 0>} : "
    "(tensor<2x3x2x4xf32>, tensor<2x5x2x4xf32>, tensor<2x5x2x4xf32>) -> tensor<2x3x2x4xf32>"
)
SPLIT = '"mfm.reshape"({}) : (tensor<2x3x8xf32>) -> tensor<2x3x2x4xf32>'
SCALE = '"mfm.multiply_scalar"({}) {{factor = {} : f64}} : (tensor<{t}>) -> tensor<{t}>'


def fold(
    body: str, results: str = "%a", types: str = "tensor<2x3x2x4xf32>"
) -> tuple[float, list[str]]:
    """The attention's scale after the pass, and the other operations' names."""
    text = f"func.func @f({SIGNATURE}) -> ({types}) {{\n{body}\nreturn {results} : {types}\n}}"
    with create_context():
        module = ir.Module.parse(text)
    function = function_named(module, "f")
    random = np.random.default_rng(0)
    inputs = [
        random.standard_normal(tuple(argument.type.shape), np.float32)
        for argument in function.entry_block.arguments
    ]
    before = interpret(function, inputs, {})
    with module.context, ir.Location.unknown():
        FoldAttentionScale().run(module, Compilation())
        assert module.operation.verify()
    after = interpret(function, inputs, {})
    for left, right in zip(before, after, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    names = {op.operation.name: op for op in function.entry_block.operations}
    scale = names.pop("mfm.attention").scale.value
    return scale, sorted(set(names) - {"func.return"})


def scaled(value: str, factor: float, sizes: str) -> str:
    return SCALE.format(value, factor, t=sizes)


def test_factors_on_query_and_key_fold() -> None:
    """Through what moves elements: the query is split into heads after its factor."""
    body = f"""
    %0 = {scaled("%q", 0.25, "2x3x8xf32")}
    %qs = {SPLIT.format("%0")}
    %ks = {scaled("%k", 3.0, "2x5x2x4xf32")}
    %a = {ATTENTION}"""
    assert fold(body) == (0.5 * 0.25 * 3.0, ["mfm.reshape"])


def test_a_factor_that_something_else_reads_stays() -> None:
    body = f"""
    %0 = {scaled("%q", 0.25, "2x3x8xf32")}
    %qs = {SPLIT.format("%0")}
    %ks = {scaled("%k", 1.0, "2x5x2x4xf32")}
    %a = {ATTENTION}"""
    scale, names = fold(body, "%a, %0", "tensor<2x3x2x4xf32>, tensor<2x3x8xf32>")
    assert scale == 0.5
    assert "mfm.multiply_scalar" in names


def test_a_factor_on_values_stays() -> None:
    body = f"""
    %qs = {SPLIT.format("%q")}
    %ks = {scaled("%k", 1.0, "2x5x2x4xf32")}
    %vs = {scaled("%v", 3.0, "2x5x2x4xf32")}
    %a = {ATTENTION.replace("%v)", "%vs)")}"""
    assert fold(body) == (0.5, ["mfm.multiply_scalar", "mfm.reshape"])
