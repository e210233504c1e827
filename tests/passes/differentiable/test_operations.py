"""Every form in PyTorch against the `reference()` that defines the operation, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.passes.differentiable import operations
from girih.passes.differentiable.function import TorchFunction
from girih.passes.interpreter import interpret
from girih.runtime.errors import CompilationError

SEEN = "{scale = 0.5 : f64, causal = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>}"
CAUSAL = "{scale = 0.5 : f64, causal = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>}"
BOTH = "{scale = 0.5 : f64, causal = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1>}"
BIASED = "operandSegmentSizes = array<i32: 1, 1, 1>"
BARE = "operandSegmentSizes = array<i32: 1, 1, 0>"
PARTS = f"operandSegmentSizes = array<i32: {', '.join(['1'] * 2 + ['0'] * 14)}>"
WINDOW = "kernel = 3 : i64, stride = 2 : i64, padding = 1 : i64"
QUERY, KEYS = "2x3x4x8xf32", "2x5x2x8xf32"

CASES: list[tuple[str, Sequence[str], str, str]] = [
    ("add", ["2x3xf32", "3xf32"], "2x3xf32", ""),
    ("attention", [QUERY, KEYS, KEYS], QUERY, CAUSAL),
    ("attention", [QUERY, KEYS, KEYS, "2x1x3x5xi1"], QUERY, SEEN),
    ("attention", [QUERY, KEYS, KEYS, "3x5xi8"], QUERY, BOTH),
    ("attention", [QUERY, KEYS, KEYS, "4x3x5xf32"], QUERY, SEEN),
    ("attention", [QUERY, KEYS, KEYS, "3x5xf32"], QUERY, BOTH),
    ("broadcast", ["3x1xf32"], "2x3x4xf32", ""),
    ("cache_update", ["1x6x4xf32", "2xi64", "1x2x4xf32"], "1x6x4xf32", ""),
    ("concatenate", ["2x3xf32", "2x1xf32"], "2x4xf32", f"{{axis = 1 : i64, {PARTS}}}"),
    ("conv1d", ["2x7x4xf32", "6x12xf32", "6xf32"], "2x4x6xf32", f"{{{WINDOW}, {BIASED}}}"),
    ("conv1d", ["2x7x4xf32", "6x12xf32"], "2x4x6xf32", f"{{{WINDOW}, {BARE}}}"),
    ("embedding", ["2x3xi64", "5x4xf32"], "2x3x4xf32", ""),
    ("gather", ["2x5xf32", "2x3xi64"], "2x3xf32", "{axis = 1 : i64}"),
    ("gelu", ["2x8xf32"], "2x8xf32", '{approximate = "none"}'),
    ("gelu", ["2x8xf32"], "2x8xf32", '{approximate = "tanh"}'),
    ("layer_norm", ["2x8xf32", "8xf32", "8xf32"], "2x8xf32", "{epsilon = 1.0e-5 : f64}"),
    ("linear", ["2x3x4xf32", "5x4xf32", "5xf32"], "2x3x5xf32", f"{{{BIASED}}}"),
    ("linear", ["2x3x4xf32", "5x4xf32"], "2x3x5xf32", f"{{{BARE}}}"),
    ("masked_scatter", ["3x4xf32", "3x4xi1", "12xf32"], "3x4xf32", ""),
    ("matmul", ["2x3x4xf32", "2x4x5xf32"], "2x3x5xf32", "{transposed = 0 : i64}"),
    ("matmul", ["2x3x4xf32", "2x5x4xf32"], "2x3x5xf32", "{transposed = 1 : i64}"),
    ("multiply_scalar", ["2x3xf32"], "2x3xf32", "{factor = -1.5 : f64}"),
    (
        "pad",
        ["2x3xf32"],
        "3x6xf32",
        "{low = array<i64: 1, 0>, high = array<i64: 0, 3>, value = 2.0 : f64}",
    ),
    ("reshape", ["2x6xf32"], "3x4xf32", ""),
    ("rms_norm", ["2x8xf32", "8xf32"], "2x8xf32", "{epsilon = 1.0e-5 : f64}"),
    ("scatter_rows", ["2x6x4xf32", "2xi64", "2x2x4xf32"], "2x6x4xf32", "{axis = 1 : i64}"),
    ("select", ["3x1xi1", "3x4xf32", "f32"], "3x4xf32", ""),
    (
        "slice",
        ["4x7xf32"],
        "2x3xf32",
        "{offsets = array<i64: 1, 0>, strides = array<i64: 1, 3>}",
    ),
    ("softmax", ["2x3x5xf32"], "2x3x5xf32", ""),
    ("take", ["2x5x3xf32", "2x2xi64"], "2x2x2x3xf32", "{axis = 1 : i64}"),
    ("transpose", ["2x3x4xf32"], "4x2x3xf32", "{permutation = array<i64: 2, 0, 1>}"),
    *(
        ("binary", ["2x3xf32", "3xf32"], "2x3xf32", f'{{function = "{name}"}}')
        for name in ("divide", "subtract", "multiply", "maximum", "minimum", "power")
    ),
    *(
        ("reduce", ["2x3x4xf32"], "3xf32", f'{{function = "{name}", axes = array<i64: 0, 2>}}')
        for name in ("sum", "maximum", "minimum")
    ),
    *(
        ("unary", ["3x8xf32"], "3x8xf32", f'{{function = "{name}"}}')
        for name in sorted(operations._UNARY)
    ),
]
POSITIVE = ("log", "power", "reciprocal", "rsqrt", "sqrt")
"""Functions of positive numbers."""


def module_of(name: str, operands: Sequence[str], result: str, attributes: str) -> ir.Module:
    types = [f"tensor<{operand}>" for operand in operands]
    arguments = ", ".join(f"%a{index}: {each}" for index, each in enumerate(types))
    values = ", ".join(f"%a{index}" for index in range(len(types)))
    return ir.Module.parse(
        f"func.func @f({arguments}) -> tensor<{result}> {{\n"
        f'  %r = "mfm.{name}"({values}) {attributes} : ({", ".join(types)}) -> tensor<{result}>\n'
        f"  return %r : tensor<{result}>\n}}"
    )


def sample(operand: str, positive: bool, generator: np.random.Generator) -> Any:
    *sizes, element = operand.split("x")
    shape = tuple(map(int, sizes))
    match element:
        case "i1" | "i8":
            return (generator.random(shape) < 0.6).astype(np.bool_ if element == "i1" else np.int8)
        case "i64":
            # Neighbours, so that no place is written to twice.
            return (np.arange(np.prod(shape)).reshape(shape) + 1) % 5
        case _:
            values = generator.standard_normal(shape).astype(np.float32)
            return np.abs(values) + np.float32(0.1) if positive else values


@pytest.mark.parametrize(("name", "operands", "result", "attributes"), CASES)
def test_a_form_is_its_reference(
    name: str, operands: Sequence[str], result: str, attributes: str
) -> None:
    generator = np.random.default_rng(0)
    positive = any(f'"{each}"' in attributes for each in POSITIVE)
    inputs = [sample(operand, positive, generator) for operand in operands]
    with create_context():
        module = module_of(name, operands, result, attributes)
        (op,) = module.body.operations
        assert operations.form_of(op.entry_block.operations[0]) is not None
        (expected,) = interpret(op, inputs, {})
        function = TorchFunction(op)
        tensors = [torch.from_numpy(np.array(each)) for each in inputs]
        for tensor in tensors:
            tensor.requires_grad_(tensor.is_floating_point())
        (found,) = function(tensors, {})
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=2e-5, atol=2e-6)
    found.sum().backward()
    assert all(each.grad is not None for each in tensors if each.is_floating_point())


def test_every_form_is_tested() -> None:
    names = {kind.OPERATION_NAME for kind in operations._FORMS}
    assert names == {f"mfm.{name}" for name, *_ in CASES}


def test_a_reference_has_no_gradient() -> None:
    with create_context():
        module = module_of("cumulative_sum", ["2x3xf32"], "2x3xf32", "{axis = 1 : i64}")
        function = TorchFunction(module.body.operations[0])
        x = torch.arange(6.0).reshape(2, 3)
        assert torch.equal(function([x], {})[0], x.cumsum(1))
        with pytest.raises(CompilationError, match=r"'mfm.cumulative_sum' has no gradient here"):
            function([x.requires_grad_()], {})
