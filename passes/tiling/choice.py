"""One region's tiles: given by the user, known from before, or searched for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from girih.passes.tiling.layer import LayerTiler
from girih.passes.tiling.mapping import entry_of, found_of, tiles_of
from girih.passes.tiling.search import Candidate, Found, search
from girih.passes.tiling.sketch import measure
from girih.runtime.errors import CompilationError

_Tiles = TypeVar("_Tiles")


def choose(
    tiler: LayerTiler,
    what: Any,
    tiles: type[_Tiles],
    candidates: Callable[[], Iterable[Candidate[_Tiles]]],
    emit: Callable[[LayerTiler, _Tiles], None],
) -> Found[_Tiles] | None:
    """The tiles of the region that `what` describes, which `emit` turns into code.

    None where nothing fits the target. Raises `CompilationError` for given tiles that do not fit.
    """
    mapping, target, region = tiler.mapping, tiler.target, repr(what)

    def try_out(each: _Tiles) -> Any:
        return measure(lambda sketch: emit(sketch, each), target, tiler.buffers)

    given = mapping.given(region)
    if given is not None:
        asked = tiles_of(given, tiles, region)
        measured = try_out(asked)
        if measured is None:
            raise CompilationError(
                f"the mapping's tiles for {region} do not fit target {target.name!r}"
            )
        found = Found(asked, measured, False)
        mapping.note(region, entry_of(found))
        return found
    is_known, entry = mapping.known(region)
    if not is_known:
        searched = search(candidates(), try_out, target)
        entry = None if searched is None else entry_of(searched)
        mapping.keep(region, entry)
    if entry is None:
        return None
    mapping.note(region, entry)
    return found_of(entry, tiles, region)
