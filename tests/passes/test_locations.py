"""Where operations come from: which modules a pattern names, and whose code a line is."""

from __future__ import annotations

import pytest

from girih.passes.locations import frame_text, lies_in, model_frame


@pytest.mark.parametrize(
    ("path", "pattern", "found"),
    [
        ("encoder.layers.3.fc1", "encoder", True),
        ("encoder.layers.3.fc1", "encoder.layers.?", True),
        ("encoder.layers.13.fc1", "encoder.layers.?", False),
        ("encoder.layers.3.fc1", "*.fc1", True),
        ("encoder.layers.3.fc1", "layers", False),
        ("encoders.fc1", "encoder", False),
    ],
)
def test_a_pattern_names_a_module_and_all_in_it(path: str, pattern: str, found: bool) -> None:
    assert lies_in(path, pattern) == found


def test_the_innermost_frame_outside_packages_counts() -> None:
    """Of frames that begin with the innermost, none of which need be a file that exists."""
    frames = [("/home/user/model.py", 7), ("/home/user/main.py", 30)]
    assert frame_text(model_frame(frames)) == "/home/user/model.py:7"
    assert frame_text(model_frame([])) == ""
