"""Calibration by episodes: calls whose states go from one to the next."""

from __future__ import annotations

import pytest
import torch

import girih


class Running(torch.nn.Module):
    """Adds its input to a sum that it keeps, and multiplies the sum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(32, 32)

    def forward(self, x: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total = total + x
        return self.linear(total), total


def entries() -> dict[str, girih.Entry]:
    inputs = (torch.zeros(1, 32), torch.zeros(1, 32))
    return {"step": girih.Entry(Running().eval(), inputs, reads={1: "total"}, writes={1: "total"})}


def test_a_state_is_calibrated_as_far_as_episodes_take_it() -> None:
    # Ten steps of one: the state reaches ten, which the example inputs never show.
    call = girih.Call("step", (torch.ones(1, 32),))
    program = girih.compile(entries(), calibration=[(call,) * 10])
    session, model = program.session(), Running().eval()
    total = torch.zeros(1, 32)
    for _ in range(10):
        (found,) = session["step"](torch.ones(1, 32))
        expected, total = model(torch.ones(1, 32), total)
    assert abs(found - expected.detach().numpy()).max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (girih.Call("walk", (torch.ones(1, 32),)), "calibration calls walk, expected step"),
        (girih.Call("step", (torch.ones(1, 31),)), "shapes"),
        (girih.Call("step", ()), "shapes"),
    ],
)
def test_what_does_not_fit_is_refused(call: girih.Call, message: str) -> None:
    with pytest.raises(girih.CompilationError, match=message):
        girih.compile(entries(), calibration=[(call,)])
