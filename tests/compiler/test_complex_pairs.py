"""Complex arithmetic is done on pairs of real numbers, and is what torch computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from girih.compiler.complex_pairs import is_complex
from girih.compiler.exporting import export

X = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
Y = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(1))
complex_, real = torch.view_as_complex, torch.view_as_real


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda x, y: real(complex_(x) * complex_(y)),
    "product with real numbers": lambda x, y: real(complex_(x) * y[..., 0] * 2.0),
    "real times complex": lambda x, y: real(y[..., 0] * complex_(x)),
    "sum": lambda x, y: real(complex_(x) + complex_(y)),
    "sum with real numbers": lambda x, y: real(complex_(x) - y[..., 0]),
    "real minus complex": lambda x, y: real(y[..., 0] - complex_(x)),
    "polar": lambda x, y: real(torch.polar(x.abs(), y)),
    "from parts": lambda x, y: real(torch.complex(x, y)),
    "conjugate": lambda x, y: real((complex_(x) * complex_(y).conj()).resolve_conj()),
    "parts": lambda x, y: complex_(x).real + complex_(y).imag,
    "size": lambda x, y: complex_(x).abs() + y[..., 0],
    "shapes": lambda x, y: real(complex_(x).flatten(1).reshape(3, 8).unsqueeze(-1)) + y[0, 0, 0, 0],
    "axes": lambda x, y: (
        real(complex_(x).transpose(-1, 0).permute(1, -1, 0)[:, -1, 1:3]) + y[0, 0, 0]
    ),
    "broadcast": lambda x, y: real(
        complex_(x)[:, :, None] * complex_(y)[:, None, :1, :, None].squeeze(-1)
    ),
    "together": lambda x, y: real(torch.cat([complex_(x), complex_(y)], -2)),
    "picked": lambda x, y: real(complex_(x)[:, torch.tensor([2, 0])]) * y[0, 0, 0, 0],
}


@pytest.mark.parametrize("case", CASES)
def test_pairs_are_what_torch_computes(case: str) -> None:
    module = Call(CASES[case])
    exported = export(module, (X, Y))
    assert not any(is_complex(node) for node in exported.program.graph.nodes)
    assert exported.notes == (), "export compares with the module"


def test_a_graph_with_an_unknown_operation_stays_as_it_is() -> None:
    program = export(Call(lambda x: real(complex_(x).angle() * complex_(x))), (X,)).program
    assert any(is_complex(node) for node in program.graph.nodes)


def test_a_complex_weight_is_read_as_a_pair() -> None:
    class Turn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("turn", torch.polar(torch.ones(3, 4), torch.arange(4.0)))

        def forward(self, x: Tensor) -> Tensor:
            return real(complex_(x) * self.turn)

    program = export(Turn(), (X,)).program
    assert [node.op for node in program.graph.nodes if is_complex(node)] == ["placeholder"]
