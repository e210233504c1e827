"""The patches that come with girih, and those of installed plugins."""

from __future__ import annotations

from importlib.metadata import entry_points

from girih.compiler.patches.base import Call, Patch, Replacement, Site
from girih.compiler.patches.experts import EXPERTS
from girih.compiler.patches.inputs_decide import INPUTS_DECIDE
from girih.compiler.patches.masks_as_eager import MASKS_AS_EAGER, MASKS_READ
from girih.compiler.patches.patches_in_order import PATCHES_IN_ORDER

PATCHES: tuple[Patch, ...] = (
    EXPERTS,
    INPUTS_DECIDE,
    MASKS_AS_EAGER,
    MASKS_READ,
    PATCHES_IN_ORDER,
)


def known_patches() -> tuple[Patch, ...]:
    """Ours, then those that installed packages offer under the entry point `girih.patches`.

    An entry point is a `Patch`.
    """
    return PATCHES + tuple(point.load() for point in entry_points(group="girih.patches"))


__all__ = ["PATCHES", "Call", "Patch", "Replacement", "Site", "known_patches"]
