"""The patches that come with girih, and those of installed plugins."""

from __future__ import annotations

from importlib.metadata import entry_points

from girih.compiler.patches.base import Call, Patch, Replacement, Site

PATCHES: tuple[Patch, ...] = ()


def known_patches() -> tuple[Patch, ...]:
    """Ours, then those that installed packages offer under the entry point `girih.patches`.

    An entry point is a `Patch`.
    """
    return PATCHES + tuple(point.load() for point in entry_points(group="girih.patches"))


__all__ = ["PATCHES", "Call", "Patch", "Replacement", "Site", "known_patches"]
