"""Layers that stand for others: the same report as of all layers one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import girih
from girih.compiler import timing
from girih.compiler.repetition import Run, longest_run


class Block(nn.Module):
    """A residual block with a causal attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        normal = self.norm(x)
        query, key, value = (
            each(normal).reshape(1, -1, 2, 16).transpose(1, 2) for each in self.mix[:3]
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.mix[3](mixed.transpose(1, 2).reshape(1, -1, 32))
        return x + self.down(nn.functional.gelu(self.up(self.inner(x))))


def both(module: nn.Module, inputs: Sequence[Tensor], monkeypatch: pytest.MonkeyPatch) -> int:
    """Compare the reports with and without repetition; return how many kernels were lengthened."""
    lengthened: list[bool] = []
    original = timing.lengthen

    def counted(*arguments: object) -> object:
        kernel = original(*arguments)  # type: ignore[arg-type]
        lengthened.append(kernel is not None)
        return kernel

    monkeypatch.setattr(timing, "lengthen", counted)
    found = girih.estimate(module, tuple(inputs))
    monkeypatch.setattr(timing, "shorten", lambda function: None)
    assert found.to_dict() == girih.estimate(module, tuple(inputs)).to_dict()
    return sum(lengthened)


@pytest.mark.parametrize("layers", [12, 13])
def test_repeated_layers_cost_what_they_cost_one_by_one(
    layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        module = nn.Sequential(*(Block(32) for _ in range(layers))).eval()
    assert both(module, [torch.zeros(1, 8, 32)], monkeypatch) == 1


def test_layers_that_differ_are_compiled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = [16 * (number % 5 + 1) for number in range(13)]
    layers = (nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
    module = nn.Sequential(*layers).eval()
    assert both(module, [torch.zeros(2, widths[0])], monkeypatch) == 0


@given(
    before=st.lists(st.integers(0, 9), max_size=5),
    unit=st.lists(st.integers(10, 19), min_size=1, max_size=6, unique=True),
    count=st.integers(2, 9),
    after=st.lists(st.integers(20, 29), max_size=1),
)
def test_the_longest_run_is_found(
    before: list[int], unit: list[int], count: int, after: list[int]
) -> None:
    found = longest_run([*dict.fromkeys(before), *unit * count, *after])
    assert found == Run(len(dict.fromkeys(before)), len(unit), count)


def test_nothing_repeats_in_distinct_items() -> None:
    assert longest_run([1, 2, 3, 4]) is None
