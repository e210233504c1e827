"""Partition: maximal segments in an order that respects every dependence."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.context import create_context
from girih.passes.base import Compilation
from girih.passes.interpreter import function_named, interpret
from girih.passes.partition import HOST, NPU, REASON, Partition, host_reason
from girih.passes.states import state_of

PARAMETERS = {"w": np.array([3, -5, 7], np.int8)}


def run_parts(module: ir.Module, inputs: list[Any]) -> list[Any]:
    """The partitioned @f, call by call."""
    function = function_named(module, "f")
    values: dict[Any, Any] = dict(zip(function.entry_block.arguments, inputs, strict=True))
    for op in function.entry_block.operations:
        if isinstance(op, func.ReturnOp):
            return [values[operand] for operand in op.operands]
        if isinstance(op, func.CallOp):
            callee = function_named(module, op.callee.value)
            arguments = [values[operand] for operand in op.operands]
            results = interpret(callee, arguments, PARAMETERS)
            values.update(zip(op.results, results, strict=True))
    raise AssertionError("@f does not return")


def partitioned(text: str, *inputs: Any) -> ir.Module:
    """The module after the pass, which computes what it did before."""
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        before = interpret(function_named(module, "f"), inputs, PARAMETERS)
        Partition().run(module, Compilation())
        assert module.operation.verify()
    for left, right in zip(before, run_parts(module, list(inputs)), strict=True):
        np.testing.assert_array_equal(left, right)
    for op in module.body.operations:
        for inner in op.entry_block.operations:
            if HOST in op.attributes:
                weightless = inner.operation.name not in ("mfm.parameter", "func.return")
                assert (REASON in inner.operation.attributes) == weightless
            if NPU in op.attributes:
                assert REASON not in inner.operation.attributes
    return module


def segments(module: ir.Module) -> list[str]:
    calls = function_named(module, "f").entry_block.operations
    return [op.callee.value for op in calls if isinstance(op, func.CallOp)]


T8, T32 = "tensor<3xi8>", "tensor<3xf32>"
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["rescale", "add", "weight", "trip"]), st.integers(0), st.integers(0)
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, results=st.lists(st.integers(0), min_size=1, max_size=3))
def test_any_graph_keeps_its_meaning(steps: list[tuple[str, int, int]], results: list[int]) -> None:
    """Operations on any earlier values, some of which make a trip through float."""
    values, lines = ["%x", "%y"], [f'%w = "mfm.parameter"() {{parameter = "w"}} : () -> {T8}']
    for index, (kind, first, second) in enumerate(steps):
        lhs, rhs = values[first % len(values)], values[second % len(values)]
        rhs = "%w" if kind == "weight" else rhs
        if kind == "rescale":
            text = (
                f'"mfm.rescale"({lhs}) {{multiplier = 3 : i64, shift = 2 : i64}} : ({T8}) -> {T8}'
            )
        elif kind == "trip":
            text = f'"mfm.quantize"(%f{index}) {{inverse_scale = 1.5 : f64}} : ({T32}) -> {T8}'
            lines.append(
                f'%f{index} = "mfm.dequantize"({lhs}) {{scale = 0.5 : f64}} : ({T8}) -> {T32}'
            )
        else:
            text = (
                f'"mfm.integer_add"({lhs}, {rhs}) {{lhs_multiplier = 2 : i64, '
                f"rhs_multiplier = 1 : i64, shift = 1 : i64}} : ({T8}, {T8}) -> {T8}"
            )
        lines.append(f"%{index} = {text}")
        values.append(f"%{index}")
    returned = [values[each % len(values)] for each in results]
    types = ", ".join([T8] * len(returned))
    text = f"func.func @f(%x: {T8}, %y: {T8}) -> ({types}) {{\n"
    text += "\n".join(lines) + f"\nreturn {', '.join(returned)} : {types}\n}}"
    partitioned(text, np.array([1, -100, 127], np.int8), np.array([0, 55, -128], np.int8))


def test_independent_work_shares_a_segment() -> None:
    """Depth, not the order in the text, decides: as few switches of device as there can be."""
    module = partitioned(
        f"""func.func @f(%x: {T8}) -> ({T8}, {T8}, {T32}) {{
          %0 = "mfm.rescale"(%x) {{multiplier = 3 : i64, shift = 2 : i64}} : ({T8}) -> {T8}
          %1 = "mfm.dequantize"(%x) {{scale = 0.5 : f64}} : ({T8}) -> {T32}
          %2 = "mfm.rescale"(%x) {{multiplier = 5 : i64, shift = 2 : i64}} : ({T8}) -> {T8}
          return %0, %2, %1 : {T8}, {T8}, {T32}
        }}""",
        np.array([1, 2, 3], np.int8),
    )
    assert segments(module) == ["f.host0", "f.npu1"]


def test_a_function_that_computes_nothing_has_no_segments() -> None:
    module = partitioned(
        f"func.func @f(%x: {T8}) -> {T8} {{ return %x : {T8} }}", np.zeros(3, np.int8)
    )
    assert segments(module) == []


def test_a_weight_that_is_a_result() -> None:
    module = partitioned(
        f"""func.func @f(%x: {T8}) -> ({T8}, {T8}, {T8}) {{
          %w = "mfm.parameter"() {{parameter = "w"}} : () -> {T8}
          %0 = "mfm.rescale"(%w) {{multiplier = 3 : i64, shift = 2 : i64}} : ({T8}) -> {T8}
          return %w, %0, %w : {T8}, {T8}, {T8}
        }}""",
        np.zeros(3, np.int8),
    )
    assert segments(module) == ["f.host0", "f.npu1"]


def test_a_state_that_something_else_reads_is_a_result_too() -> None:
    """The device keeps its copy; the host and the caller get theirs."""
    module = partitioned(
        f"""func.func @f(%x: {T8}) -> ({T8} {{mfm.state = "kept"}}, {T32}, {T8}) {{
          %0 = "mfm.rescale"(%x) {{multiplier = 3 : i64, shift = 2 : i64}} : ({T8}) -> {T8}
          %1 = "mfm.dequantize"(%0) {{scale = 0.5 : f64}} : ({T8}) -> {T32}
          return %0, %1, %0 : {T8}, {T32}, {T8}
        }}""",
        np.array([1, 2, 3], np.int8),
    )
    npu = function_named(module, "f.npu1")
    assert [state_of(npu, "res_attrs", index) for index in range(2)] == ["kept", None]
    assert segments(module) == ["f.npu1", "f.host2"]


def test_reasons() -> None:
    """Every kind of host operation says why it is one."""
    text = f"""func.func @f(%x: {T8}, %y: {T32}, %t: tensor<3xi64>) {{
      %0 = "mfm.dequantize"(%x) {{scale = 0.5 : f64}} : ({T8}) -> {T32}
      %1 = "mfm.slice"(%x) {{offsets = array<i64: 0>, strides = array<i64: 2>}}
        : ({T8}) -> tensor<2xi8>
      %2 = "mfm.add"(%y, %y) : ({T32}, {T32}) -> {T32}
      %3 = "mfm.compare"(%t, %t) {{predicate = "eq"}}
        : (tensor<3xi64>, tensor<3xi64>) -> tensor<3xi1>
      %4 = "mfm.slice"(%t) {{offsets = array<i64: 0>, strides = array<i64: 1>}}
        : (tensor<3xi64>) -> tensor<2xi64>
      %5 = "other.op"(%x) : ({T8}) -> {T8}
      %6 = "other.op"(%x) {{mfm.fallback = "it has its reasons"}} : ({T8}) -> {T8}
      %7 = "mfm.reshape"(%x) : ({T8}) -> tensor<1x3xi8>
      return
    }}"""
    with create_context():
        module = ir.Module.parse(text)
    operations = list(function_named(module, "f").entry_block.operations)[:-1]
    assert [host_reason(op) for op in operations] == [
        "a seam between float and integer",
        "takes rows apart, which is not a block transfer",
        "computes in float",
        "works on i1, which the accelerator does not compute with",
        "works on i64, which the accelerator does not compute with",
        "other.op has no mfm form",
        "it has its reasons",
        None,
    ]


def add_reason(left: str, right: str, result: str) -> str | None:
    """Why an addition of two int8 tensors would stay on the host."""
    text = f"""
    func.func @f(%a: {left}, %b: {right}) -> {result} {{
      %0 = "mfm.integer_add"(%a, %b) {{lhs_multiplier = 1, rhs_multiplier = 1, shift = 1}}
           : ({left}, {right}) -> {result}
      return %0 : {result}
    }}"""
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        return host_reason(function_named(module, "f").entry_block.operations[0])


def test_only_whole_rows_are_repeated_on_the_accelerator() -> None:
    whole = "tensor<2x9x12xi8>"
    assert add_reason(whole, "tensor<9x12xi8>", whole) is None
    assert add_reason("tensor<1x9x12xi8>", whole, whole) is None
    assert add_reason(whole, "tensor<2x1x12xi8>", whole) is None
    assert add_reason("tensor<9x1x12xi8>", "tensor<5x12xi8>", "tensor<9x5x12xi8>") is None
    for part in ("tensor<9x1xi8>", "tensor<1x1xi8>", "tensor<2x9x1xi8>"):
        assert add_reason(whole, part, whole) == (
            "the vector engine repeats whole rows, not parts of them"
        )


def test_movement_of_whole_rows_is_a_block_transfer() -> None:
    x, y = "tensor<2x9x12xi8>", "tensor<9x2x12xi8>"
    for order, result, reason in (
        ("1, 0, 2", y, None),
        ("0, 2, 1", "tensor<2x12x9xi8>", "takes rows apart, which is not a block transfer"),
    ):
        text = f"""
        func.func @f(%x: {x}) -> {result} {{
          %0 = "mfm.transpose"(%x) {{permutation = array<i64: {order}>}} : ({x}) -> {result}
          return %0 : {result}
        }}"""
        with create_context(), ir.Location.unknown():
            module = ir.Module.parse(text)
            assert host_reason(function_named(module, "f").entry_block.operations[0]) == reason


def test_movement_between_host_operations_stays_there() -> None:
    """Alone it would be an accelerator segment that computes nothing."""
    module = partitioned(
        """func.func @f(%x: tensor<2x3xi8>) -> tensor<1x3xf32> {
          %0 = "mfm.slice"(%x) {offsets = array<i64: 1, 0>, strides = array<i64: 1, 1>}
            : (tensor<2x3xi8>) -> tensor<1x3xi8>
          %1 = "mfm.dequantize"(%0) {scale = 0.5 : f64} : (tensor<1x3xi8>) -> tensor<1x3xf32>
          return %1 : tensor<1x3xf32>
        }""",
        np.arange(6, dtype=np.int8).reshape(2, 3),
    )
    assert segments(module) == ["f.host0"]


def test_a_mask_without_a_column_per_key_stays_on_the_host() -> None:
    query, keys = "tensor<1x4x2x8xi8>", "tensor<1x6x2x8xi8>"
    for columns, reason in ((6, None), (1, "an attention mask must have a column for every key")):
        mask = f"tensor<1x1x4x{columns}xi8>"
        text = f"""
        func.func @f(%q: {query}, %k: {keys}, %m: {mask}) -> {query} {{
          %0 = "mfm.integer_attention"(%q, %k, %k, %m) {{causal = 0, score_multiplier = 1,
               score_shift = 1, output_multiplier = 1, output_shift = 9,
               operandSegmentSizes = array<i32: 1, 1, 1, 1>}}
               : ({query}, {keys}, {keys}, {mask}) -> {query}
          return %0 : {query}
        }}"""
        with create_context(), ir.Location.unknown():
            module = ir.Module.parse(text)
            op = function_named(module, "f").entry_block.operations[0]
            assert host_reason(op) == reason
