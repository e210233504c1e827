"""`girih adapt`: what it writes and prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from girih.compiler.artifact import load
from girih.compiler.cli import run

MODEL = """
import torch
import girih

def build():
    torch.manual_seed(0)
    layers = torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 5)
    return torch.nn.Sequential(*layers).eval(), (torch.randn(3, 8),)

def episodes():
    return [[girih.Call("main", (torch.randn(3, 8),))]]

def numbers():
    return [1, 2]

def number():
    return 1
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapt")
    (folder / "adapt_model.py").write_text(MODEL)
    rows = np.random.default_rng(1).standard_normal((4, 3, 8)).astype(np.float32)
    np.savez(folder / "examples.npz", rows)
    return folder


def words(folder: Path, place: Path, *data: str) -> list[str]:
    found = ["adapt", f"{folder}/adapt_model.py:build", "-o", f"{place}/m.girih"]
    found += ["--folder", f"{place}/state", "--steps", "2", "--batch", "2"]
    return found + [word for each in data for word in ("--data", f"{folder}/{each}")]


def test_adapt(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    given = words(folder, tmp_path, "examples.npz", "adapt_model.py:episodes")
    assert run([*given, "--match", "2", "--rank", "2"]) == 0
    printed = capsys.readouterr().err.splitlines()
    steps = json.loads((tmp_path / "state" / "losses.json").read_text())
    assert [each["step"] for each in steps] == [1, 2]
    assert printed[0] == f"step 1 of 2: loss {steps[0]['loss']:.4f}"
    assert printed[-1] == f"wrote {tmp_path}/m.girih: main"
    program = load(tmp_path / "m.girih")
    assert program(np.zeros((3, 8), np.float32))[0].shape == (3, 5)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        ("missing.npz", [], "missing.npz: No such file or directory"),
        ("adapt_model.py", [], "adapt_model.py: not a"),
        ("adapt_model.py:number", [], "returned no episodes: expected sequences of girih.Call"),
        ("adapt_model.py:numbers", [], "returned no episodes: expected sequences of girih.Call"),
        ("examples.npz", ["--steps", "-1"], "steps=-1: input should be greater than or equal to 0"),
        ("examples.npz", ["--recipe", "none"], "no recipe 'none'"),
        ("examples.npz", ["--recipe", "float"], "leaves all numbers float"),
        ("examples.npz", ["--target", "none"], "none"),
        ("examples.npz", ["--folder", "/missing/state"], "/missing/state: no folder /missing"),
        ("examples.npz", ["-o", "/missing/m.girih"], "/missing/m.girih: no folder /missing"),
    ],
)
def test_bad_words(
    folder: Path, tmp_path: Path, capsys: Capture, data: str, options: list[str], sentence: str
) -> None:
    assert run([*words(folder, tmp_path, data), *options]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("girih: ")
    assert sentence in printed
    assert "defect" not in printed
    assert not list(tmp_path.iterdir())
