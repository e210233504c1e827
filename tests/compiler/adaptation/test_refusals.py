"""What adaptation refuses: one sentence each, before any work, with nothing written."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.adaptation.checkpoint import STATE
from girih.compiler.episodes import Call
from girih.runtime.errors import GirihError

X = torch.ones(2, 8)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4)).eval()


def adapted(folder: Path, **options: Any) -> Any:
    settings: dict[str, Any] = {"episodes": [[Call("main", (X,))]], "steps": 1, "batch": 2}
    return adapt(model(), (X,), folder=folder, **settings | options)


def episode(*inputs: Any, entry: str = "main") -> dict[str, Any]:
    return {"episodes": [[Call("main", (X,))], [Call(entry, inputs)]]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": -1}, "steps=-1: input should be greater than or equal to 0"),
        ({"rate": 0.0}, "rate=0.0: input should be greater than 0"),
        ({"rank": "big"}, "rank='big': input should be a valid integer"),
        ({"loss": "none"}, "loss='none': input should be 'divergence' or 'error'"),
        ({"match": ()}, r"match=\(\): tuple should have at least 1 item"),
        (
            {"recipe": "float"},
            "recipe 'float' leaves all numbers float",
        ),
        ({"episodes": []}, "no episodes are given"),
        ({"episodes": [[Call("main", (X,))], []]}, "episode 1 is no sequence of girih.Call"),
        ({"episodes": [[X]]}, "episode 0 is no sequence of girih.Call"),
        (episode(X, entry="decode"), "episode 1: no entry point 'decode', the model has main"),
        (
            episode(X, X),
            r"episode 1: inputs of 'main' have shapes \[\[2, 8\], \[2, 8\]\], expected \[\[",
        ),
        (
            episode(X.to(torch.complex64)),
            "episode 1: an input of 'main' is torch.complex64, expected torch.float32",
        ),
        (
            {"match": ("0", "decoder.*")},
            r"to train lies in 'decoder.\*'; there are 0, 2",
        ),
        (episode(X * torch.nan), "the loss of step 1 is no number: an example holds none, or"),
    ],
)
def test_bad_input(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    folder = tmp_path / "state"
    with pytest.raises(GirihError, match=sentence):
        adapted(folder, **options)
    assert not (folder / STATE).exists()


def test_episodes_that_train_nothing(tmp_path: Path) -> None:
    other = nn.Sequential(OrderedDict(other=nn.Linear(8, 4))).eval()
    with pytest.raises(GirihError, match="the episodes of step 1 reach no weight that is to be"):
        adapt(
            {"one": (model(), (X,)), "two": (other, (X,))},
            episodes=[[Call("one", (X,))]],
            folder=tmp_path / "state",
            match=("other",),
        )


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GirihError, match="file: is a file, expected a folder"):
        adapted(tmp_path / "file")
    with pytest.raises(GirihError, match="new: no folder .*missing"):
        adapted(tmp_path / "missing" / "new")


def test_the_state_of_another_adaptation(tmp_path: Path) -> None:
    adapted(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    for options in ({"rank": 2}, episode(X + 1), {"recipe": "w4a8"}):
        with pytest.raises(GirihError, match="holds an adaptation of another model, or with other"):
            adapted(tmp_path, **options)
    assert (tmp_path / STATE).read_bytes() == before
    (tmp_path / STATE).write_bytes(before[:-100])
    with pytest.raises(GirihError, match="not the state of an adaptation; remove it"):
        adapted(tmp_path)
