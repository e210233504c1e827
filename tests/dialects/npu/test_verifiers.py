"""Machine-level operations refuse what no machine does, and say what they found."""

from __future__ import annotations

import pytest
from torch_mlir import ir

from girih.compiler.context import create_context

COMMON = (
    "rows = {rows} : i64, columns = 8 : i64, depth = 8 : i64, flags = 0 : i64, "
    "immediates = array<i64: 0>, layer = 0 : i64, waits = array<i64: -1, -1, -1, -1>, "
    "accesses = [{accesses}]"
)


@pytest.fixture(scope="module")
def context() -> ir.Context:
    return create_context()


def problem(context: ir.Context, body: str) -> str:
    """What verification says of a program; empty where it accepts."""
    text = f'"npu.program"() ({{\n{body}\n}}) {{sym_name = "main", layers = []}} : () -> ()'
    try:
        with context:
            ir.Module.parse(text)
    except ir.MLIRError as error:
        return str(error)
    return ""


def matmul(c: str = '"accumulator"', accesses: str = "{}, {}, {}", rows: int = 8) -> str:
    scratchpad = 'memref<1x8x8xi8, "scratchpad">'
    sums = f"memref<1x8x8xi32, {c}>"
    fields = COMMON.format(accesses=accesses, rows=rows)
    allocate = '"npu.allocate"() {address = -1 : i64, layer = 0 : i64} : () -> '
    return (
        f"%a = {allocate}{scratchpad}\n%b = {allocate}{scratchpad}\n%c = {allocate}{sums}\n"
        f'"npu.matmul"(%a, %b, %c) {{{fields}}} : ({scratchpad}, {scratchpad}, {sums}) -> ()'
    )


def test_matmul_is_accepted(context: ir.Context) -> None:
    assert problem(context, matmul()) == ""


def test_operand_in_the_wrong_memory(context: ir.Context) -> None:
    found = problem(context, matmul(c='"scratchpad"'))
    assert "'npu.matmul' operand 2 is in scratchpad, expected accumulator" in found


def test_number_of_accesses(context: ir.Context) -> None:
    found = problem(context, matmul(accesses="{}, {}"))
    assert "'npu.matmul' has 2 accesses for 3 buffers" in found


def test_empty_tile(context: ir.Context) -> None:
    assert "'npu.matmul' works on 0 x 8 elements" in problem(context, matmul(rows=0))


def test_role_of_a_tensor(context: ir.Context) -> None:
    fields = 'tensor = "x", role = "weight", index = 0 : i64, address = -1 : i64'
    found = problem(context, f'%x = "npu.dram"() {{{fields}}} : () -> memref<4xi8, "dram">')
    assert "has role 'weight', expected one of parameter, state, argument" in found


def test_tensor_outside_dram(context: ir.Context) -> None:
    fields = 'tensor = "x", role = "result", index = 0 : i64, address = -1 : i64'
    found = problem(context, f'%x = "npu.dram"() {{{fields}}} : () -> memref<4xi8, "scratchpad">')
    assert "'npu.dram' is in scratchpad, expected dram" in found


def test_buffer_outside_the_chip(context: ir.Context) -> None:
    fields = "address = -1 : i64, layer = 0 : i64"
    found = problem(context, f'%x = "npu.allocate"() {{{fields}}} : () -> memref<1x4x4xi8, "dram">')
    assert "'npu.allocate' is in dram, expected scratchpad or accumulator" in found


def nested(depth: int, count: int = 2) -> str:
    body = matmul()
    for _ in range(depth):
        body = f'"npu.loop"() ({{\n{body}\n}}) {{count = {count} : i64}} : () -> ()'
    return body


def test_loops_nest_four_deep(context: ir.Context) -> None:
    assert problem(context, nested(4)) == ""
    assert "'npu.loop' is nested 5 deep, expected at most 4" in problem(context, nested(5))


def test_count_of_a_loop(context: ir.Context) -> None:
    found = problem(context, nested(1, count=0))
    assert "'npu.loop' runs 0 times, expected at least once" in found
