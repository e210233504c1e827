"""Addresses for open pages: never more opened than before, and exactly as many as predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.compiler.codegen import generate
from girih.dialects import npu
from girih.passes.allocate import Allocate, dram_bytes, dram_tensors, lifetimes
from girih.passes.arrange_dram import ArrangeDram
from girih.passes.base import Compilation
from girih.passes.pages.banks import Conflicts, activates
from girih.passes.peel import Peel
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.runtime.errors import GirihError
from girih.runtime.memory import RowCounts
from girih.runtime.simulator import Machine
from girih.runtime.target import Target


def paged(target: Target, page_bytes: int, banks: int) -> Target:
    """With pages, and next to no refresh, so that counts depend on addresses alone."""
    values = target.model_dump()
    memory = Target.load("edge@ddr4-3200")
    assert memory.dram.pages is not None
    values["dram"]["pages"] = memory.dram.pages.model_dump() | {
        "page_bytes": page_bytes,
        "banks": banks,
        "refresh_interval_nanoseconds": 1e12,
    }
    values["energy"]["activate"] = memory.energy.model_dump()["activate"]
    return Target.model_validate(values)


@dataclass(frozen=True)
class Tensor:
    name: str
    begin: int
    size: int
    life: tuple[int, int]


def rows(g: Any, target: Target, arrange: bool) -> tuple[RowCounts, list[Tensor]]:
    """What the simulator counts, and where the tensors lie."""
    compilation = Compilation(parameters=g.parameters, target=target)
    with g.context, ir.Location.unknown():
        Tile().run(g.module, compilation)
        Peel().run(g.module, compilation)
        Allocate().run(g.module, compilation)
        if arrange:
            ArrangeDram().run(g.module, compilation)
        Synchronize().run(g.module, compilation)
        kernels, top = generate(g.module, target)
    machine = Machine(target, dram_bytes=top)
    (kernel,) = kernels.values()
    counts = machine.run(kernel.program, functional=False).counts.rows
    (program,) = [op for op in g.module.body.operations if isinstance(op, npu.ProgramOp)]
    tensors = [
        Tensor(op.tensor.value, op.address.value, dram_bytes(op), life)
        for op, life in zip(dram_tensors(program), lifetimes(program), strict=True)
    ]
    return counts, tensors


def layers(graph: Any, length: int, width: int, seed: int) -> Any:
    """A linear, a residual and a norm with its linear: weights, rows and results take turns."""
    g = graph([np.zeros((1, length, width), np.int16)], seed)
    x = g.arguments[0]
    y = g.linear(g.layer_norm(x), 2 * width)
    z = g.add(x, g.linear(y, width, element="i16"))
    g.finish(z, g.linear(g.layer_norm(z), width))
    return g


@settings(max_examples=10, deadline=None)
@given(
    st.integers(1, 50),
    st.integers(2, 6),
    st.sampled_from([256, 1024, 4096]),
    st.sampled_from([1, 2, 4, 16]),
    st.integers(0, 100),
)
def test_never_more_pages_are_opened_than_with_allocate(
    graph: Any, length: int, width: int, page_bytes: int, banks: int, seed: int
) -> None:
    target = paged(Target.load("small"), page_bytes, banks)
    before, _ = rows(layers(graph, length, 16 * width, seed), target, arrange=False)
    after, tensors = rows(layers(graph, length, 16 * width, seed), target, arrange=True)
    assert after.activates <= before.activates
    for index, tensor in enumerate(tensors):
        assert tensor.begin % 64 == 0
        for other in tensors[:index]:
            apart = (
                tensor.begin + tensor.size <= other.begin
                or other.begin + other.size <= tensor.begin
            )
            together = tensor.life[0] <= other.life[1] and other.life[0] <= tensor.life[1]
            assert apart or not together


def test_values_do_not_depend_on_it(graph: Any) -> None:
    g = layers(graph, 70, 96, 3)
    g.inputs = [g.random.integers(-3000, 3000, (1, 70, 96)).astype(np.int16)]
    g.check(paged(Target.load("small"), 1024, 4))


def test_what_takes_turns_gets_banks_of_its_own(graph: Any) -> None:
    """Two arguments and a result, of 8 pages each: without a choice they meet in one bank."""
    target = paged(Target.load("small"), 32768, 4)

    def sum_of_two() -> Any:
        shape = (1, 4096, 64)
        g = graph([np.zeros(shape, np.int8), np.zeros(shape, np.int8)])
        g.finish(g.add(*g.arguments, element="i8"))
        return g

    before, _ = rows(sum_of_two(), target, arrange=False)
    after, tensors = rows(sum_of_two(), target, arrange=True)
    assert after.activates == 3 * 8  # each page once
    assert before.activates == 2 * after.activates
    assert after.hits + after.activates == before.hits + before.activates
    assert len({tensor.begin // 32768 % 4 for tensor in tensors}) == 3


def test_a_target_without_pages_keeps_its_addresses(graph: Any) -> None:
    target = Target.load("small")
    _, before = rows(layers(graph, 20, 64, 0), target, arrange=False)
    _, after = rows(layers(graph, 20, 64, 0), target, arrange=True)
    assert before == after


def test_small_tensors_do_not_straddle_pages(graph: Any) -> None:
    target = paged(Target.load("small"), 4096, 2)
    before, _ = rows(layers(graph, 60, 80, 0), target, arrange=False)
    after, tensors = rows(layers(graph, 60, 80, 0), target, arrange=True)
    assert after.activates < before.activates
    for tensor in tensors:
        offset = tensor.begin % 4096
        assert offset == 0 if tensor.size >= 4096 else offset + tensor.size <= 4096


def test_needs_a_target_and_addresses(graph: Any) -> None:
    g = layers(graph, 4, 16, 0)
    target = paged(Target.load("small"), 4096, 2)
    with g.context, ir.Location.unknown():
        with pytest.raises(GirihError, match="arrange-dram needs a target"):
            ArrangeDram().run(g.module, Compilation())
        compilation = Compilation(parameters=g.parameters, target=target)
        Tile().run(g.module, compilation)
        with pytest.raises(GirihError, match="run allocate before it"):
            ArrangeDram().run(g.module, compilation)


@given(st.lists(st.integers(0, 40), max_size=60), st.sampled_from([1, 2, 4, 8]))
def test_pages_opened_are_those_of_banks_that_keep_one(visits: list[int], banks: int) -> None:
    kept: dict[int, int] = {}
    opened = 0
    for page in visits:
        opened += kept.get(page % banks) != page
        kept[page % banks] = page
    assert activates(np.array(visits, np.int64), banks) == opened


@given(st.lists(st.integers(0, 1), min_size=2, max_size=30))
def test_two_pages_that_take_turns_get_two_banks(tensors: list[int]) -> None:
    conflicts = Conflicts(4)
    conflicts.add(tensors, [0] * len(tensors))
    chosen = conflicts.choose()
    pages = np.array([chosen.get(0, 0), 4 + chosen.get(1, 1)], np.int64)
    assert activates(pages[np.array(tensors)], 4) == len(set(tensors))
