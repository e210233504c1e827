"""Mappings: which tiles each region of a program was given, on a target; kept, read and written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from girih.passes.tiling.search import Found, Measured
from girih.runtime import _simulator
from girih.runtime.errors import CompilationError
from girih.runtime.target import Target

_Tiles = TypeVar("_Tiles")

_KNOWN: dict[tuple[Target, str], dict[str, Any] | None] = {}
"""All that this process has chosen, found in a file, or found impossible."""


class Mapping:
    """The choices of one compilation: those given by the user, those known, those searched for.

    A region is named by the text of its description (`Product(rows=1500, ...)`); nothing else has a
    part in the choice. `chosen` holds the regions that the program consists of, in order.
    """

    def __init__(
        self,
        target: Target,
        given: Path | None = None,
        chosen: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.target = target
        self.chosen = {} if chosen is None else chosen
        self._looked_up: dict[str, dict[str, Any]] = {}
        self._given = {} if given is None else read(given)

    def given(self, region: str) -> dict[str, Any] | None:
        """Tiles that the user asks for."""
        return self._given.get(region)

    def known(self, region: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether a region was searched before, and what was found."""
        key = (self.target, region)
        if key not in _KNOWN:
            stored = _stored(self.target)
            if region not in stored:
                return False, None
            _KNOWN[key] = stored[region]
        return True, _KNOWN[key]

    def keep(self, region: str, entry: dict[str, Any] | None) -> None:
        """Remember what a search found; None: nothing fits."""
        _KNOWN[self.target, region] = entry
        stored = _stored(self.target)
        stored[region] = entry
        _write(self.target, stored)

    def note(self, region: str, entry: dict[str, Any]) -> None:
        """Note what a region would be given."""
        self._looked_up[region] = {**entry, "tiles": dict(entry["tiles"])}

    def use(self, what: Any) -> None:
        """Note that the region so described is part of the program."""
        self.chosen[repr(what)] = self._looked_up[repr(what)]


def entry_of(found: Found[Any]) -> dict[str, Any]:
    """A choice as plain values."""
    return {
        "tiles": asdict(found.tiles),
        "cycles": found.measured.cycles,
        "dram_bytes": found.measured.dram_bytes,
        "is_exact": found.is_exact,
    }


def found_of(entry: dict[str, Any], tiles: type[_Tiles], region: str) -> Found[_Tiles]:
    """The choice that an entry describes."""
    measured = Measured(int(entry["cycles"]), int(entry["dram_bytes"]))
    return Found(tiles(**entry["tiles"]), measured, bool(entry["is_exact"]))


def tiles_of(entry: dict[str, Any], tiles: type[_Tiles], region: str) -> _Tiles:
    """The tiles that a user's entry asks for.

    Raises `CompilationError` for fields that such tiles do not have, lack, or cannot hold.
    """
    values = entry["tiles"]
    expected = {each.name: each for each in fields(cast(Any, tiles))}
    found = set(values) if isinstance(values, dict) else set[str]()
    if found != set(expected):
        raise CompilationError(
            f"mapping of {region}: expected tiles with {', '.join(expected) or 'no fields'}, "
            f"found {', '.join(sorted(map(str, found))) or 'none'}"
        )
    for name, value in values.items():
        is_number = expected[name].type == "int"
        if is_number and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise CompilationError(
                f"mapping of {region}: {name} is {value!r}, expected a whole number of at least 1"
            )
    if values.get("outer", "weights") not in ("weights", "inputs"):
        raise CompilationError(
            f"mapping of {region}: outer is {values['outer']!r}, expected weights or inputs"
        )
    if values.get("stationary", "weight") not in ("weight", "output"):
        raise CompilationError(
            f"mapping of {region}: stationary is {values['stationary']!r}, "
            "expected weight or output"
        )
    return tiles(**values)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """A mapping file: a list of regions with their tiles.

    Raises `CompilationError` for a file that cannot be read or is none.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CompilationError(f"mapping file {path}: can not be read: {reason}") from error
    regions = content.get("regions") if isinstance(content, dict) else None
    if not isinstance(regions, list) or not all(
        isinstance(each, dict) and isinstance(each.get("region"), str) and "tiles" in each
        for each in regions
    ):
        raise CompilationError(
            f"mapping file {path}: expected `regions`, a list of entries with `region` and `tiles`"
        )
    return {each["region"]: each for each in regions}


def to_yaml(target: str, chosen: dict[str, dict[str, Any]]) -> str:
    """The text of a mapping file, which `read` reads."""
    regions = [{"region": region, **entry} for region, entry in chosen.items()]
    return yaml.safe_dump({"target": target, "regions": regions}, sort_keys=False, width=100)


# ---- between processes ----


def cache_folder() -> Path | None:
    """Where choices are kept between processes: `GIRIH_CACHE` (empty: nowhere), or the user's."""
    named = os.environ.get("GIRIH_CACHE")
    if named == "":
        return None
    if named is not None:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "girih"


@lru_cache(maxsize=1)
def _version() -> str:
    """A digest of what a choice depends on beside region and target: tilers, passes, simulator."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in (
        *sorted(folder.glob("*.py")),
        folder.parent / "peel.py",
        folder.parent / "allocate.py",
    ):
        digest.update(path.read_bytes())
    digest.update(Path(str(_simulator.__file__)).read_bytes())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=64)
def _digest(target: Target) -> str:
    return hashlib.sha256(target.to_yaml().encode()).hexdigest()[:16]


def _path(target: Target) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    return folder / f"mapping-{_version()}-{_digest(target)}.json"


_FILES: dict[Path, dict[str, Any]] = {}


def _stored(target: Target) -> dict[str, Any]:
    path = _path(target)
    if path is None:
        return {}
    if path not in _FILES:
        _FILES[path] = _load(path)
    return _FILES[path]


def _load(path: Path) -> dict[str, Any]:
    """What a file holds; a file that is missing or damaged holds nothing: it is searched anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(target: Target, stored: dict[str, Any]) -> None:
    path = _path(target)
    if path is None:
        return
    # Another process may have added to it since.
    merged = {**_load(path), **stored}
    stored.update(merged)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, delete=False, encoding="utf-8"
        ) as file:
            json.dump(merged, file)
        os.replace(file.name, path)
    except OSError:
        # A cache that cannot be written only costs time.
        return
