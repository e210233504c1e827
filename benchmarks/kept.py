"""Results kept in build/agreement/, found again by what they depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "agreement"

_SOURCES = ("compiler", "dialects", "passes", "runtime")
_PACKAGES = ("torch", "torch-mlir", "iree-base-compiler", "iree-base-runtime", "transformers")


def place(kind: str, suffix: str, *inputs: Any) -> Path:
    """The file that holds what these inputs lead to; they are told apart by `repr`."""
    digest = hashlib.sha256(repr(inputs).encode()).hexdigest()[:24]
    path = FOLDER / kind / f"{digest}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@cache
def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def compiler_digest() -> str:
    """What the compiler is made of: its sources, and the packages that it stands on."""
    known = hashlib.sha256()
    for part in _SOURCES:
        for path in sorted((ROOT / part).rglob("*.py")):
            known.update(f"{path.relative_to(ROOT)} {file_digest(path)}\n".encode())
    for package in _PACKAGES:
        known.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    return known.hexdigest()
