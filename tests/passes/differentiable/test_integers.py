"""Every integer form in PyTorch against the `reference()` that defines the operation: equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.differentiable import integers
from girih.passes.differentiable.function import TorchFunction
from girih.passes.interpreter import interpret

LINEAR: list[tuple[str, Sequence[str], str, str]] = [
    ("integer_linear", ["2x3x40xi8", "7x40xi8", "3x7xi32"], "2x3x7xi8", ""),
    ("integer_linear", ["3x1100xi8", "5x1100xi8", "3x5xi32"], "3x5xi16", ""),
]
WINDOW = "{kernel = 3 : i64, stride = 2 : i64, padding = 1 : i64}"
SCALED = (
    "score_multiplier = 1431655765 : i64, score_shift = 36 : i64, "
    "output_multiplier = 1518500250 : i64, output_shift = 39 : i64"
)


def attention(causal: int, masks: int) -> str:
    sizes = f"operandSegmentSizes = array<i32: 1, 1, 1, {masks}>"
    return f"{{{SCALED}, causal = {causal} : i64, {sizes}}}"


CASES: list[tuple[str, Sequence[str], str, str]] = [
    *LINEAR,
    # One group of keys, several, and one that is not whole; heads that share keys; more rows than
    # are in memory at a time would take too long here.
    (
        "integer_attention",
        ["2x3x4x8xi8", "2x5x2x8xi8", "2x5x2x6xi8"],
        "2x3x4x6xi8",
        attention(0, 0),
    ),
    (
        "integer_attention",
        ["1x9x2x8xi8", "1x200x2x8xi8", "1x200x2x8xi8"],
        "1x9x2x8xi8",
        attention(0, 0),
    ),
    (
        "integer_attention",
        ["1x70x2x8xi8", "1x70x1x8xi8", "1x70x1x8xi8"],
        "1x70x2x8xi8",
        attention(1, 0),
    ),
    (
        "integer_attention",
        ["2x3x4x8xi8", "2x130x2x8xi8", "2x130x2x8xi8", "2x1x3x130xi1"],
        "2x3x4x8xi8",
        attention(0, 1),
    ),
    (
        "integer_attention",
        ["1x3x2x8xi8", "1x64x2x8xi8", "1x64x2x8xi8", "3x64xi8"],
        "1x3x2x8xi8",
        attention(1, 1),
    ),
    # So deep that scores leave what float64 holds.
    (
        "integer_attention",
        ["1x3x2x200xi8", "1x70x2x200xi8", "1x70x2x8xi8"],
        "1x3x2x8xi8",
        attention(0, 0),
    ),
    ("integer_conv1d", ["2x7x4xi8", "6x12xi8", "3x6xi32"], "2x4x6xi16", WINDOW),
    # Wide enough that the rows, which overlap, are not copied before they are multiplied.
    ("integer_conv1d", ["1x300x64xi8", "32x192xi8", "3x32xi32"], "1x150x32xi8", WINDOW),
    (
        "integer_add",
        ["2x5xi16", "5xi8"],
        "2x5xi16",
        "{lhs_multiplier = 3000000 : i64, rhs_multiplier = 1431655765 : i64, shift = 21 : i64}",
    ),
    (
        "integer_gelu",
        ["2x9xi16", "2x9xi32", "1024xi32"],
        "2x9xi8",
        "{index_multiplier = 1073741824 : i64, index_shift = 35 : i64, offset = -100 : i64}",
    ),
    (
        "integer_layer_norm",
        ["3x33xi16", "2x33xi32"],
        "3x33xi8",
        "{epsilon = 7 : i64, shift = 22 : i64}",
    ),
    (
        "integer_rms_norm",
        ["3x33xi16", "1x33xi32"],
        "3x33xi16",
        "{epsilon = 7 : i64, shift = 16 : i64}",
    ),
]


def module_of(name: str, operands: Sequence[str], result: str, attributes: str) -> ir.Module:
    types = [f"tensor<{operand}>" for operand in operands]
    arguments = ", ".join(f"%a{index}: {each}" for index, each in enumerate(types))
    values = ", ".join(f"%a{index}" for index in range(len(types)))
    return ir.Module.parse(
        f"func.func @f({arguments}) -> tensor<{result}> {{\n"
        f'  %r = "mfm.{name}"({values}) {attributes} : ({", ".join(types)}) -> tensor<{result}>\n'
        f"  return %r : tensor<{result}>\n}}"
    )


def sample(operand: str, extreme: bool, generator: np.random.Generator) -> Any:
    *sizes, element = operand.split("x")
    shape = tuple(map(int, sizes))
    if element == "i1":
        return generator.random(shape) < 0.6
    if element == "i32":
        return _parameters(shape, generator)
    limits = np.iinfo(f"int{element[1:]}")
    if extreme:
        return generator.choice([limits.min, limits.max, 0], shape).astype(limits.dtype)
    return generator.integers(limits.min, limits.max, shape, limits.dtype, endpoint=True)


def _parameters(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    """Shifts in the last row where there are rows; multipliers, biases and tables elsewhere."""
    found = generator.integers(-(1 << 20), 1 << 20, shape).astype(np.int32)
    if len(shape) == 2:
        found[-1] = generator.integers(1, 40, shape[1])
    if len(shape) == 2 and shape[0] > 1:
        found[-2] = generator.integers(0, 1 << 30, shape[1])
    return found


def compare(
    inputs: Sequence[Any], name: str, operands: Sequence[str], result: str, attributes: str
) -> None:
    with create_context():
        module = module_of(name, operands, result, attributes)
        (op,) = module.body.operations
        (expected,) = interpret(op, inputs, {})
        (found,) = TorchFunction(op)([torch.from_numpy(each.copy()) for each in inputs], {})
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("name", "operands", "result", "attributes"), CASES)
@given(seed=st.integers(0, 1 << 16), extreme=st.booleans())
@settings(max_examples=6, deadline=None, phases=(Phase.generate,))
def test_a_form_is_its_reference(
    name: str, operands: Sequence[str], result: str, attributes: str, seed: int, extreme: bool
) -> None:
    generator = np.random.default_rng(seed)
    inputs = [sample(operand, extreme, generator) for operand in operands]
    compare(inputs, name, operands, result, attributes)


@pytest.mark.parametrize(("name", "operands", "result", "attributes"), LINEAR)
def test_processors_without_exact_int8_products_multiply_floats(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    operands: Sequence[str],
    result: str,
    attributes: str,
) -> None:
    monkeypatch.setattr(integers, "_int_mm_is_exact", lambda: False)
    generator = np.random.default_rng(1)
    inputs = [sample(operand, True, generator) for operand in operands]
    compare(inputs, name, operands, result, attributes)


def test_attention_takes_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "_SCORES", 300)
    generator = np.random.default_rng(2)
    operands = ["1x7x2x8xi8", "1x70x2x8xi8", "1x70x2x8xi8", "1x1x7x70xi1"]
    inputs = [sample(operand, False, generator) for operand in operands]
    compare(inputs, "integer_attention", operands, "1x7x2x8xi8", attention(0, 1))


def test_every_form_is_tested() -> None:
    names = {kind.OPERATION_NAME for kind in integers.FORMS}
    assert names == {f"mfm.{name}" for name, *_ in CASES}
