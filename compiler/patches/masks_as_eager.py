"""Attention masks of an export as in an eager run: none where the model's code asks for none."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from girih.compiler.patches.base import Patch, Replacement, Site, replaced


def _replace(site: Site) -> Sequence[Replacement]:
    masks: Any = sys.modules.get("transformers.masking_utils")
    if masks is None:
        return ()
    find_packed = masks.find_packed_sequence_indices

    def find_packed_by_values(position_ids: Any) -> Any:
        # The one thing that it reads are positions, which hardly ever are data.
        with replaced(Replacement(masks, "is_tracing", lambda tensor=None: False)):
            return find_packed(position_ids)

    return (
        # Without a padding mask nothing is read, so there is no reason to do without the shortcut.
        Replacement(masks, "is_torchdynamo_exporting", lambda: False),
        Replacement(masks, "find_packed_sequence_indices", find_packed_by_values),
    )


MASKS_AS_EAGER = Patch(
    name="masks-as-eager",
    reason="when transformers' models are traced they build masks that they do without otherwise, "
    "and the two are not the same for all models",
    classes=frozenset({"PreTrainedModel"}),
    replace=_replace,
    replays=True,
)


def _replace_reads(site: Site) -> Sequence[Replacement]:
    masks: Any = sys.modules.get("transformers.masking_utils")
    return () if masks is None else (Replacement(masks, "is_tracing", lambda tensor=None: False),)


MASKS_READ = Patch(
    name="masks-read",
    reason="the model computes something else without a mask than with one that masks nothing",
    classes=frozenset({"PreTrainedModel"}),
    replace=_replace_reads,
    replays=True,
    fallback=True,
)
