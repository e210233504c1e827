"""Which weights are trained: those of linear operations that nothing else reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch_mlir import ir

from girih.compiler.adaptation.settings import Settings
from girih.compiler.adaptation.targets import trained_weights
from girih.compiler.compilation import import_entries
from girih.compiler.context import create_context
from girih.compiler.entries import entries_of
from girih.compiler.pipeline import float_passes, run_passes
from girih.passes.base import Compilation


class Tied(nn.Module):
    """A table that is the last layer's weight, a bias that two layers share, and a free layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.first, self.second, self.free = (nn.Linear(4, 4) for _ in range(3))
        self.second.bias = self.first.bias
        self.norm = nn.LayerNorm(4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(self.second(self.first(self.table(tokens))))
        return nn.functional.linear(x + self.free(x), self.table.weight)


def chosen(match: tuple[str, ...] = ("*",), tied: bool = False) -> dict[str, str | None]:
    with create_context(), ir.Location.unknown():
        entries = entries_of(Tied().eval(), (torch.tensor([[1, 2]]),))
        graph, parameters = import_entries(entries, (), lambda stage: None)
        run_passes(graph, float_passes(), Compilation(parameters))
        return trained_weights(graph, Settings(match=match, tied=tied))


def test_tables_are_left_alone_unless_asked_for() -> None:
    free = {"first.weight": None, "second.weight": None, "free.weight": "free.bias"}
    assert chosen() == free
    assert chosen(tied=True) == free | {"table.weight": None}


def test_patterns() -> None:
    assert list(chosen(("f*",))) == ["first.weight", "free.weight"]
    assert list(chosen(("second", "free"))) == ["second.weight", "free.weight"]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_rate_rises(step: int) -> None:
    assert Settings(steps=30, rate=0.3).rate_at(step) == pytest.approx(0.1 * (step + 1))


def test_the_rate_falls() -> None:
    settings = Settings(steps=30, rate=0.3)
    rates = [settings.rate_at(step) for step in range(2, 30)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.01
