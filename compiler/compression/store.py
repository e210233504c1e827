"""Measurements kept in a file as they are made: a search that was killed goes on from there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from girih.compiler.recipe import Recipe


class Store:
    """Findings by what they depend on: lines of JSON, each whole or ignored.

    `subject` names everything beside the recipe that a finding depends on.
    """

    def __init__(self, path: Path, subject: str) -> None:
        self.path, self.subject = path, subject
        self._known: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the process was killed while it wrote this line
                self._known[record["key"]] = record["value"]

    def get(self, kind: str, recipe: Recipe) -> Any | None:
        """What was found of a recipe, or None."""
        return self._known.get(self._key(kind, recipe))

    def put(self, kind: str, recipe: Recipe, value: Any) -> None:
        """Keep what was found of a recipe."""
        key = self._key(kind, recipe)
        self._known[key] = value
        with self.path.open("a") as file:
            # Begins a line of its own, whatever an earlier process left behind.
            file.write("\n" + json.dumps({"key": key, "kind": kind, "value": value}))

    def _key(self, kind: str, recipe: Recipe) -> str:
        settings = recipe.model_dump_json(exclude={"name"})
        return hashlib.sha256(f"{self.subject}\n{kind}\n{settings}".encode()).hexdigest()
