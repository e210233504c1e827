"""`girih compress`: what it writes and prints, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from girih.compiler.cli import run
from girih.compiler.recipe import Recipe

MODEL = """
import torch
import girih

def build():
    torch.manual_seed(0)
    layers = torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 64)
    return torch.nn.Sequential(*layers).eval(), (torch.randn(3, 64),)

def episodes():
    return [[girih.Call("main", (torch.randn(3, 64),))]]

def other():
    return [[girih.Call("side", (torch.randn(3, 64),))]]

def numbers():
    return [1, 2]
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compress")
    (folder / "compress_model.py").write_text(MODEL)
    rows = np.random.default_rng(1).standard_normal((4, 3, 64)).astype(np.float32)
    np.savez(folder / "examples.npz", rows)
    np.savez(folder / "wide.npz", rows[..., :63])
    return folder


def words(folder: Path, place: Path, *data: str) -> list[str]:
    found = ["compress", f"{folder}/compress_model.py:build", "--folder", f"{place}/search"]
    return found + [word for each in data for word in ("--data", f"{folder}/{each}")]


def test_compress(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    given = words(folder, tmp_path, "examples.npz", "compress_model.py:episodes")
    options = ["--budget", "bytes=0.6", "--metric", "error", "--points", "2", "--trials", "1"]
    assert run([*given, *options]) == 0
    printed = capsys.readouterr()
    assert "of float16" in printed.out
    assert "recipe.yaml" in printed.err
    recipe = Recipe.load(tmp_path / "search" / "recipe.yaml")
    assert any(rule.weights == 4 for rule in recipe.rules)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (None, [], "no data is given"),
        ("missing.npz", [], "missing.npz: No such file or directory"),
        ("wide.npz", [], "have shapes [[3, 63]], expected [[3, 64]]"),
        ("compress_model.py:numbers", [], "returned no episodes: expected sequences of girih.Call"),
        ("compress_model.py:other", [], "no entry point 'side', the model has main"),
        ("examples.npz", ["--budget", "bytes"], "--budget bytes: expected one of bytes, cycles"),
        ("examples.npz", ["--budget", "watts=1"], "the budget is watts"),
        ("examples.npz", ["--budget", "bytes=0.01"], "no recipe within bytes"),
        ("examples.npz", ["--prune", "roots"], "--prune roots: expected hidden, heads, blocks"),
        ("examples.npz", ["--metric", "taste"], "--metric taste: expected agreement or error"),
        ("examples.npz", ["--target", "moon"], "moon"),
    ],
)
def test_bad_words(
    folder: Path,
    tmp_path: Path,
    capsys: Capture,
    data: str | None,
    options: list[str],
    sentence: str,
) -> None:
    assert run([*words(folder, tmp_path, *([] if data is None else [data])), *options]) == 1
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert sentence in printed[0]
    assert not (tmp_path / "search" / "recipe.yaml").exists()
