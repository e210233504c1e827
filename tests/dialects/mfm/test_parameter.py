"""Weights: named, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest


def test_parameter_is_accepted(operations: Any) -> None:
    assert operations.problems("parameter", [], "4x8xi8", 'parameter = "w"') == []


def test_parameter_needs_a_name(operations: Any) -> None:
    assert operations.problems("parameter", [], "4xf32") == ["lacks the attribute parameter"]


def test_parameter_has_no_meaning_of_its_own(operations: Any) -> None:
    """Its array is the archive's, which the interpreter looks up."""
    op = operations.parse("parameter", [], "4xf32", 'parameter = "w"')
    with pytest.raises(TypeError, match=r"'mfm\.parameter' has no reference of its own"):
        op.reference()
