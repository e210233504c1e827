"""ViLT draws lots for the order of an image's patches: here they keep their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from girih.compiler.patches.base import Patch, Replacement, Site


def _in_order(weights: Tensor, count: Any, replacement: bool = False, **options: Any) -> Tensor:
    """The first `count` of n, from the start again where there are fewer. (n,) -> (count,).

    ViLT draws all patches that show something, and then masked ones to fill up: no result but the
    order of the patches' own rows depends on which.
    """
    number = int(count)
    if number < weights.shape[0] and not replacement:
        raise ValueError(
            f"the model draws lots for {number} of {weights.shape[0]} patches: "
            "set config.max_image_length = -1"
        )
    return torch.arange(number) % weights.shape[0]


def _replace(site: Site) -> Sequence[Replacement]:
    return (Replacement(torch, "multinomial", _in_order),)


PATCHES_IN_ORDER = Patch(
    name="patches-in-order",
    reason="the model draws lots for the order of the image's patches, which is no part of a "
    "program",
    classes=frozenset({"ViltEmbeddings"}),
    replace=_replace,
    early=True,
)
