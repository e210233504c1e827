"""The native module is built, installed in its place, and is the one that was asked for."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest


@pytest.mark.simulator
def test_native_module_is_the_one_asked_for() -> None:
    module = importlib.import_module("girih.runtime._simulator")
    file = module.__file__
    assert file is not None
    # `make san` names another build, which must not fall back to the installed one.
    asked = os.environ.get("GIRIH_SIMULATOR_MODULE")
    if asked:
        assert Path(file).resolve() == Path(asked).resolve()
