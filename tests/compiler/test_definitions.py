"""Operations that nothing lowers compute the same when they are taken apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import girih

X = torch.tensor([[-2.5, -0.0, 0.0, 0.3], [3.0, -1.0, 1e-30, 2.0]])


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def stored(x: Tensor) -> Tensor:
    """Rows and columns written in place, one from integers."""
    y = torch.zeros_like(x)
    y[0] = torch.arange(4)
    y[:, 1::2] = x[:, :1]
    return y


FUNCTIONS = [
    torch.sign,
    torch.sgn,
    torch.erfc,
    nn.Softshrink(),
    lambda x: torch.hypot(x, x + 1),
    lambda x: torch.fmod(x, 0.7),
    lambda x: torch.fmod(x, -x.flip(0) - 0.1),
    lambda x: x[None, :, None].squeeze((0, 2)),
    stored,
    lambda x: torch.logsumexp(x, -1),
    lambda x: torch.searchsorted(torch.linspace(-1, 1, 5), x, right=True),
    lambda x: torch.median(x, -1),
    torch.median,
    lambda x: torch.kthvalue(x, 2, 0),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_computes_what_torch_does(function: Callable[..., Any]) -> None:
    found = girih.compile(Apply(function), (X,), recipe="float")(X)
    expected = pytree.tree_leaves(function(X))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "padding", "corners"),
    [("bilinear", "zeros", False), ("nearest", "border", True), ("bicubic", "reflection", False)],
)
def test_samples_of_a_grid(mode: str, padding: str, corners: bool) -> None:
    """Deformable attention reads an image at places that it computes."""
    x = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))

    def function(x: Tensor) -> Tensor:
        grid = 1.2 * torch.tanh(x[:, :2].permute(0, 2, 3, 1))
        return nn.functional.grid_sample(x, grid, mode, padding, corners)

    (found,) = girih.compile(Apply(function), (x,), recipe="float")(x)
    torch.testing.assert_close(torch.from_numpy(found), function(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("points", "order"), [(5, 2.0), (30, 2.0), (5, 1.0), (5, 3.0)])
def test_distances(points: int, order: float) -> None:
    x = torch.randn(2, points, 4, generator=torch.Generator().manual_seed(0))
    function = lambda x: torch.cdist(x, x[:, :3] + 1, order)  # noqa: E731
    (found,) = girih.compile(Apply(function), (x,), recipe="float")(x)
    torch.testing.assert_close(torch.from_numpy(found), function(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("x", [X, X.int()])
def test_the_largest_along_an_axis_needs_no_fallback(x: Tensor) -> None:
    """A vector quantizer chooses its codes so, as in EnCodec and DAC."""
    function = lambda x: tuple(x.max(-1))  # noqa: E731
    found = girih.compile(Apply(function), (x,), recipe="float", strict=True)(x)
    for ours, theirs in zip(found, function(x), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_signs_of_integers() -> None:
    x = torch.tensor([-3, 0, 7])
    assert girih.compile(Apply(torch.sign), (x,), recipe="float")(x)[0].tolist() == [-1, 0, 1]
