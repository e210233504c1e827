"""check-target refuses what tile would refuse, and nothing that tile takes."""

from __future__ import annotations

import pytest
import torch

from girih.compiler.compilation import compile
from girih.runtime.errors import CompilationError
from girih.runtime.target import Target


def test_a_target_that_is_too_small_is_refused_before_calibration() -> None:
    edge = Target.load("edge")
    small = edge.model_copy(update={"name": "thimble", "scratchpad_bytes": 256})
    stages: list[str] = []
    with pytest.raises(CompilationError, match="target 'thimble' is too small for"):
        compile(
            torch.nn.Linear(64, 64), (torch.zeros(4, 64),), target=small, progress=stages.append
        )
    assert stages[-1] == "check-target"
