"""Every family of models compiles and computes what the model does, on every device."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import girih
from tests.models.families import FAMILIES
from tests.models.family import Cell, Family
from tests.models.rows import Row, keep

TOLERANCE = 1e-3
HEAVY = ("linear", "attention", "conv", "patch_embedding")
"""What an operation is called that must not stay on the host of a family marked `w8a8`."""
HEAVY_SHARE = 0.01
"""What all that stays there may have of the multiply-accumulates: angles, scores of features."""
OFTEN_IN_INTEGERS = ("BERT", "CLIP", "Llama", "Whisper")
"""Families of which the integers are compared on every run too."""


def cells(recipe: str) -> list[Any]:
    """Every cell of every family; those that take too long for every run are slow."""

    def marks(family: Family) -> list[Any]:
        often = family.ci and (recipe == "float" or family.name in OFTEN_IN_INTEGERS)
        return [] if often else [pytest.mark.slow]

    return [
        pytest.param(family, name, id=f"{family.name}-{name}", marks=marks(family))
        for family in FAMILIES
        for name in family.cells
    ]


def run(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        results = module(*inputs)
    return [value for value in pytree.tree_leaves(results) if isinstance(value, Tensor)]


def error(found: Any, expected: list[Tensor]) -> float:
    """The largest difference of any element of any result."""
    return max(
        float(np.abs(ours.astype(np.float64) - theirs.double().numpy()).max())
        for ours, theirs in zip(found, expected, strict=True)
    )


def built(family: Family, name: str) -> Cell:
    found = family.build()
    assert set(found) == set(family.cells)
    return found[name]


def test_there_are_41_families_and_12_of_them_are_tested_often() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) == 41
    assert sum(family.ci for family in FAMILIES) == 12


@pytest.mark.parametrize(("family", "name"), cells("float"))
def test_a_program_computes_what_the_model_does(family: Family, name: str) -> None:
    cell = built(family, name)
    inputs = tuple(cell.inputs)
    expected = run(cell.module, inputs)
    start = time.perf_counter()
    program = girih.compile(cell.module, inputs, recipe="float")
    seconds = time.perf_counter() - start
    found = error(program(*inputs), expected)
    if name == "decode":
        # What was compiled at one position holds at any other.
        token, position, *rest = inputs
        later = (token, position + 1, *rest)
        found = max(found, error(program(*later), run(cell.module, later)))
    keep(family.name, name, "float", Row(float_error=found, float_seconds=seconds))
    assert found <= TOLERANCE


@pytest.mark.parametrize(("family", "name"), cells("w8a8"))
def test_integers_are_the_same_everywhere(family: Family, name: str) -> None:
    """In a family that is not marked `w8a8` this is tried, and may fail."""
    cell = built(family, name)
    inputs = tuple(cell.inputs)
    try:
        row = integers(cell, inputs)
    except Exception as problem:
        if family.w8a8:
            raise
        pytest.xfail(f"{type(problem).__name__}: {problem}")
    keep(family.name, name, "w8a8", row)
    assert row.w8a8 == "exact"
    heavy = [each for each in row.host_macs_operations if any(word in each for word in HEAVY)]
    share = row.host_macs_share or 0
    if (heavy or share > HEAVY_SHARE) and not family.w8a8:
        pytest.xfail(f"on the host: {share:.1%} of the MACs, {', '.join(heavy)}")
    assert not heavy
    assert share <= HEAVY_SHARE


def integers(cell: Cell, inputs: tuple[Tensor, ...]) -> Row:
    """Compile in integers, and run on every device."""
    start = time.perf_counter()
    program = girih.compile(cell.module, inputs, recipe="w8a8")
    seconds = time.perf_counter() - start
    reference = program["main"].reference(*inputs, integers=True)
    iree = program(*inputs, integers=True)
    npu = program(*inputs, device="npu", integers=True)
    same = all(
        np.array_equal(ours, theirs)
        for found in (iree, npu)
        for ours, theirs in zip(reference, found, strict=True)
    )
    host = program.executable.entries["main"].host_operations
    return Row(
        w8a8="exact" if same else "different",
        w8a8_seconds=seconds,
        host_operations=len(host),
        host_macs_share=sum(each.macs_share for each in host),
        host_macs_operations=tuple(sorted({each.name for each in host if each.macs})),
    )
