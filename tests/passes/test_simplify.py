"""Simplify: movement cancels, and what a function computes stays the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.interpreter import function_named, interpret
from girih.passes.simplify import Simplify


def simplified(text: str, *inputs: Any) -> Counter[str]:
    """Names of the operations that are left; the function's results are compared."""
    with create_context():
        module = ir.Module.parse(text)
    function = function_named(module, "f")
    before = interpret(function, inputs, {})
    with module.context:
        Simplify().run(module, Compilation())
        assert module.operation.verify()
    after = interpret(function, inputs, {})
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)
    names = [op.operation.name for op in function.entry_block.operations]
    return Counter(name.removeprefix("mfm.") for name in names if name != "func.return")


def chain(start: tuple[int, ...], steps: list[tuple[str, Any]]) -> str:
    """A function of one argument; steps are ("transpose", order), ("reshape", sizes), ..."""
    lines: list[str] = []
    sizes = start
    for index, (name, how) in enumerate(steps):
        before = sizes
        attributes = ""
        if name == "transpose":
            sizes = tuple(before[axis] for axis in how)
            attributes = f"permutation = array<i64: {', '.join(map(str, how))}>"
        elif name == "reshape":
            sizes = how
        elif name == "gelu":
            attributes = 'approximate = "none"'
        else:
            attributes = "factor = 0.5 : f64"
        lines.append(
            f'%{index} = "mfm.{name}"({f"%{index - 1}" if index else "%x"}) {{{attributes}}}'
            f" : ({tensor(before)}) -> {tensor(sizes)}"
        )
    body = "\n  ".join(lines)
    last = f"%{len(steps) - 1}"
    return (
        f"func.func @f(%x: {tensor(start)}) -> {tensor(sizes)} {{\n  {body}\n"
        f"  return {last} : {tensor(sizes)}\n}}"
    )


def tensor(sizes: tuple[int, ...]) -> str:
    return f"tensor<{'x'.join(map(str, (*sizes, 'f32')))}>"


def test_two_transposes_that_cancel_vanish() -> None:
    text = chain((2, 3, 4), [("transpose", [1, 2, 0]), ("transpose", [2, 0, 1])])
    assert simplified(text, np.random.rand(2, 3, 4)) == Counter()


def test_transposes_meet_past_an_activation() -> None:
    """What surrounds a channels-last convolution in a channels-first model."""
    text = chain((2, 3, 4), [("transpose", [0, 2, 1]), ("gelu", None), ("transpose", [0, 2, 1])])
    assert simplified(text, np.random.rand(2, 3, 4).astype(np.float32)) == Counter(gelu=1)


def test_a_transpose_of_unit_axes_is_a_reshape() -> None:
    text = chain((1, 3, 1, 4), [("transpose", [0, 2, 1, 3]), ("reshape", (3, 4))])
    assert simplified(text, np.random.rand(1, 3, 1, 4)) == Counter(reshape=1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("transpose"), st.permutations(range(3))),
        st.tuples(
            st.just("reshape"), st.sampled_from([(2, 1, 6), (12, 1, 1), (3, 2, 2), (1, 1, 12)])
        ),
        st.sampled_from([("gelu", None), ("multiply_scalar", None)]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, start=st.sampled_from([(2, 1, 6), (2, 3, 2), (1, 12, 1)]))
def test_any_chain_keeps_its_meaning(steps: list[tuple[str, Any]], start: tuple[int, ...]) -> None:
    x = np.arange(12, dtype=np.float32).reshape(start)
    left = simplified(chain(start, steps), x)
    names = Counter(name for name, _ in steps)
    assert left["gelu"] == names["gelu"]
    assert left["transpose"] <= names["transpose"]


def test_a_value_with_two_readers_is_kept_for_the_other() -> None:
    text = """
    func.func @f(%x: tensor<2x3xf32>) -> (tensor<3x2xf32>, tensor<2x3xf32>) {
      %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 0>}
        : (tensor<2x3xf32>) -> tensor<3x2xf32>
      %1 = "mfm.transpose"(%0) {permutation = array<i64: 1, 0>}
        : (tensor<3x2xf32>) -> tensor<2x3xf32>
      return %0, %1 : tensor<3x2xf32>, tensor<2x3xf32>
    }"""
    assert simplified(text, np.random.rand(2, 3)) == Counter(transpose=1)


def test_what_is_transposed_alike_is_added_before() -> None:
    text = """
    func.func @f(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>, %z: tensor<1x1xf32>) -> tensor<2x3xf32> {
      %0 = "mfm.transpose"(%x) {permutation = array<i64: 1, 0>}
        : (tensor<2x3xf32>) -> tensor<3x2xf32>
      %1 = "mfm.transpose"(%y) {permutation = array<i64: 1, 0>}
        : (tensor<2x3xf32>) -> tensor<3x2xf32>
      %2 = "mfm.add"(%0, %1) : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
      %3 = "mfm.binary"(%2, %z) {function = "maximum"}
        : (tensor<3x2xf32>, tensor<1x1xf32>) -> tensor<3x2xf32>
      %4 = "mfm.transpose"(%3) {permutation = array<i64: 1, 0>}
        : (tensor<3x2xf32>) -> tensor<2x3xf32>
      return %4 : tensor<2x3xf32>
    }"""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(sizes).astype(np.float32) for sizes in ((2, 3), (2, 3), (1, 1))]
    assert simplified(text, *inputs) == Counter(add=1, binary=1)


def test_a_reshape_between_transposes_may_keep_what_they_move() -> None:
    """A picture, channels first, as a sequence and back."""
    steps = [("transpose", [0, 3, 1, 2]), ("reshape", (2, 4, 15)), ("transpose", [0, 2, 1])]
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    assert simplified(chain((2, 3, 5, 4), steps), x) == Counter(reshape=1)
    steps = [("transpose", [0, 2, 1]), ("reshape", (2, 4, 3, 5)), ("transpose", [0, 2, 3, 1])]
    assert simplified(chain((2, 15, 4), steps), x.reshape(2, 15, 4)) == Counter(reshape=1)


@settings(max_examples=60, deadline=None)
@given(
    first=st.permutations(range(4)),
    last=st.permutations(range(3)),
    sizes=st.tuples(*[st.integers(1, 3)] * 4),
    merged=st.integers(0, 2),
)
def test_any_reshape_between_transposes_keeps_its_meaning(
    first: list[int], last: list[int], sizes: tuple[int, ...], merged: int
) -> None:
    moved = [sizes[axis] for axis in first]
    target = (*moved[:merged], moved[merged] * moved[merged + 1], *moved[merged + 2 :])
    steps = [("transpose", first), ("reshape", target), ("transpose", last)]
    simplified(chain(sizes, steps), np.random.default_rng(0).standard_normal(sizes))
