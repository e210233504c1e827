"""Calls one after another: what models with states are calibrated, searched and adapted with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Call:
    """A call of an entry point: its arguments in order, without states."""

    entry: str
    inputs: tuple[Tensor, ...]


Episode = tuple[Call, ...]
"""Calls from empty states on: a clip is encoded, then come its tokens one by one."""
