"""Addresses: within the memories, apart while alive, shared between programs where they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects import npu
from girih.dialects.npu.base import slot_bytes, slots, space
from girih.passes.allocate import ALIGNMENT, Allocate, dram_bytes, walk
from girih.passes.base import Compilation
from girih.passes.tile import Tile
from girih.runtime.errors import GirihError
from girih.runtime.target import Target


def chain(graph: Any) -> Any:
    """Four layers whose results feed each other."""
    g = graph([np.zeros((40, 32), np.int8)])
    x = g.arguments[0]
    for _ in range(4):
        x = g.linear(x, 32)
    g.finish(x)
    return g


def allocate(g: Any, target: Target) -> list[Any]:
    """All operations of the program, addresses set."""
    compilation = Compilation(parameters=g.parameters, target=target)
    with g.context, ir.Location.unknown():
        Tile().run(g.module, compilation)
        Allocate().run(g.module, compilation)
        assert g.module.operation.verify()
    return [op for program in g.module.body.operations for op in walk(program.body.blocks[0])]


def test_buffers_of_a_layer_lie_apart_and_in_range(graph: Any, hand_changed: Target) -> None:
    spans: dict[tuple[int, str], list[tuple[int, int]]] = {}
    g = chain(graph)  # owns the operations
    for op in allocate(g, hand_changed):
        if isinstance(op, npu.AllocateOp):
            begin = op.address.value
            end = begin + slots(op.buffer) * slot_bytes(op.buffer)
            spans.setdefault((op.layer.value, space(op.buffer)), []).append((begin, end))
    assert len(spans) == 8
    capacity = {
        "scratchpad": hand_changed.scratchpad_bytes,
        "accumulator": hand_changed.accumulator_bytes,
    }
    for (_, where), found in spans.items():
        found.sort()
        assert found[0][0] >= 0
        assert found[-1][1] <= capacity[where]
        assert all(begin % ALIGNMENT == 0 for begin, _ in found)
        assert all(first[1] <= second[0] for first, second in zip(found, found[1:], strict=False))


def test_tensors_in_use_at_once_lie_apart(graph: Any) -> None:
    g = chain(graph)  # owns the operations
    operations = allocate(g, Target.load("small"))
    used: dict[Any, list[int]] = {}
    for op in operations:
        if isinstance(op, npu.Instruction):
            for operand in op.operands:
                used.setdefault(operand, []).append(op.layer.value)
    tensors = [op for op in operations if isinstance(op, npu.DramOp)]
    lives: list[tuple[int, int, int, int]] = []
    for op in tensors:
        layers = used[op.buffer]
        always = op.role.value != "intermediate"
        first, last = (0, 99) if always else (min(layers), max(layers))
        lives.append((op.address.value, op.address.value + dram_bytes(op), first, last))
    for index, (begin, end, first, last) in enumerate(lives):
        for other_begin, other_end, other_first, other_last in lives[:index]:
            apart = end <= other_begin or other_end <= begin
            assert apart or last < other_first or other_last < first
    intermediates = [op.address.value for op in tensors if op.role.value == "intermediate"]
    assert len(set(intermediates)) < len(intermediates), "memory is used again"


def test_programs_share_weights_and_states(graph: Any) -> None:
    g = graph(
        [np.zeros((1, 8, 16), np.int8), np.zeros(1, np.int64), np.zeros((1, 1, 16), np.int8)],
        states=["cache"],
    )
    g.finish(g.cache_update(*g.arguments), g.linear(g.arguments[2], 16), states=["cache"])
    with g.context, ir.Location.unknown():
        again = g.function.operation.clone(ir.InsertionPoint(g.module.body))
        again.attributes["sym_name"] = ir.StringAttr.get("again")
        assert isinstance(again.opview, func.FuncOp)
    operations = allocate(g, Target.load("small"))
    addresses: dict[tuple[str, str], list[int]] = {}
    for op in operations:
        if isinstance(op, npu.DramOp) and op.role.value in ("parameter", "state"):
            key = op.role.value, op.tensor.value
            addresses.setdefault(key, []).append(op.address.value)
    assert sorted(addresses) == [
        ("parameter", "weight0"),
        ("parameter", "weight1"),
        ("state", "cache"),
    ]
    assert all(len(found) == 2 and len(set(found)) == 1 for found in addresses.values())


def test_model_larger_than_dram_is_refused(graph: Any, make_target: Any) -> None:
    values = make_target().model_dump()
    values["dram"]["capacity_bytes"] = 4096
    with pytest.raises(GirihError, match=r"takes \d+ bytes of DRAM, target 'changed' has 4096"):
        chain(graph).compile(Target.model_validate(values))
