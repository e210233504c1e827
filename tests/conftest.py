"""What all tests share."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def _use_simulator_module(path: str) -> None:
    """Loads another build of the native module in place of the installed one (`make san`)."""
    import girih.runtime

    name = "girih.runtime._simulator"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise FileNotFoundError(f"GIRIH_SIMULATOR_MODULE: {path} is not an extension module")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.modules[name] = module
    girih.runtime._simulator = module  # type: ignore[attr-defined]


# Choices of tiles are kept for the tests of one process alone, and never in the user's folder.
os.environ["GIRIH_CACHE"] = ""

if os.environ.get("GIRIH_SIMULATOR_MODULE"):
    _use_simulator_module(os.environ["GIRIH_SIMULATOR_MODULE"])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def speech_directory() -> Path:
    """The folder of synthesized sentences with their transcripts.tsv."""
    return REPOSITORY / "tests" / "data" / "speech"


@pytest.fixture(scope="session")
def shared_directory() -> Path:
    """Large data beside the repository that is not part of it; skips the test if absent."""
    directory = REPOSITORY.parent / "shared" / "data"
    if not directory.is_dir():
        pytest.skip("needs ../shared/data, which is absent here")
    return directory
