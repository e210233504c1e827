"""Adaptation as a whole: exact forward values, lower losses, the same result after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.adaptation.checkpoint import LOSSES
from girih.compiler.episodes import Call
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Pruning, Recipe
from girih.runtime.errors import InputError

PRUNED = Recipe(name="pruned", pruning=(Pruning(hidden=0.5),))


class Block(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(Block(), Block(), nn.LayerNorm(16), nn.Linear(16, 12)).eval()
    with torch.no_grad():
        for each in layers.parameters():
            each *= 2  # answers that are worth learning
    return layers


def inputs(count: int) -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(1, 8, 16, generator=generator),) for _ in range(count)]


def adapted(folder: Path, **options: Any) -> CompiledProgram:
    settings: dict[str, Any] = {"steps": 12, "batch": 4, "rate": 5e-3, "rank": 4, "recipe": PRUNED}
    examples = inputs(4)
    return adapt(
        model(),
        examples[0],
        episodes=[[Call("main", each)] for each in examples],
        folder=folder,
        **settings | options,
    )


def losses(folder: Path) -> list[float]:
    return [each["loss"] for each in json.loads((folder / LOSSES).read_text())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adaptation")


@pytest.fixture(scope="module")
def program(folder: Path) -> CompiledProgram:
    return adapted(folder)


def test_a_pruned_model_learns(program: CompiledProgram, folder: Path) -> None:
    found = losses(folder)
    assert len(found) == 12
    assert found[-1] < 0.6 * found[0]
    # What was learnt is in the program: the loss of the last step is that of its own logits.
    expected = [F.log_softmax(model()(*each), -1) for each in inputs(4)]
    logits = [torch.from_numpy(program(*each)[0]) for each in inputs(4)]
    divergence = [
        F.kl_div(F.log_softmax(one, -1), other, reduction="none", log_target=True).sum(-1).mean()
        for one, other in zip(logits, expected, strict=True)
    ]
    assert torch.stack(divergence).mean().item() == pytest.approx(found[-1], rel=0.2)


class KilledError(Exception):
    """Stands for a kill."""


def kill_at(step: int) -> Callable[[str], None]:
    def progress(stage: str) -> None:
        if stage.startswith(f"step {step} "):
            raise KilledError

    return progress


def test_a_killed_adaptation_goes_on_to_the_same_integers(
    program: CompiledProgram, folder: Path, tmp_path: Path
) -> None:
    for step in (3, 8):
        with pytest.raises(KilledError):
            adapted(tmp_path, progress=kill_at(step))
    stages: list[str] = []
    again = adapted(tmp_path, progress=stages.append)
    assert [stage for stage in stages if stage.startswith("step ")][0].startswith("step 6 ")
    assert losses(tmp_path) == losses(folder)
    assert again.executable.module == program.executable.module
    ours, theirs = again.executable.parameters, program.executable.parameters
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_steps_in_float_come_first_and_are_not_done_again(tmp_path: Path) -> None:
    """A kill between the two kinds of steps: the second run finds the first kind done."""
    with pytest.raises(KilledError):
        adapted(tmp_path, float_steps=6, steps=2, progress=kill_at(1))
    assert len(losses(tmp_path / "float")) == 6
    said: list[str] = []
    with pytest.raises(InputError, match="holds an adaptation of another model"):
        adapted(tmp_path, float_steps=6, steps=2, rate=1e-3, progress=said.append)
    assert "calibrate" not in said
    again: list[str] = []
    program = adapted(tmp_path, float_steps=6, steps=2, progress=again.append)
    assert not any(stage.startswith("in float, step") for stage in again)
    whole = adapted(tmp_path.with_name("whole"), float_steps=6, steps=2)
    for name, array in whole.executable.parameters.items():
        np.testing.assert_array_equal(array, program.executable.parameters[name])
    assert losses(tmp_path)[0] < losses(tmp_path / "float")[0]
