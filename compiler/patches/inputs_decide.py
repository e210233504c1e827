"""Transformers' models read grids, sizes and masks as Python numbers: the same numbers again."""

from __future__ import annotations

from girih.compiler.patches.base import Patch

INPUTS_DECIDE = Patch(
    name="inputs-decide",
    reason="the model's code reads values of its inputs (image grids, sizes, masks) to decide what "
    "to compute, and torch.export knows no values",
    classes=frozenset({"PreTrainedModel"}),
    replays=True,
)
