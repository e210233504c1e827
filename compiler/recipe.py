"""Recipe: what a compilation does to a model's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from girih.runtime.errors import CompilationError


class Recipe(BaseModel):
    """How a model is quantized. ``float`` leaves it alone; ``w8a8`` is integer-only.

    smoothing: share of an activation's channel range that moves into the weights that read it
    (SmoothQuant's alpha); 0 turns it off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weights: Literal["f32", "i8"] = "i8"
    smoothing: float = Field(default=0.5, ge=0, le=1)

    @property
    def quantized(self) -> bool:
        """Whether the compiled program computes with integers."""
        return self.weights != "f32"

    @staticmethod
    def load(recipe: str | Path | Recipe) -> Recipe:
        """A recipe from a preset's name, a YAML file, or itself.

        Raises `CompilationError` for an unknown preset, a missing file or a wrong field.
        """
        if isinstance(recipe, Recipe):
            return recipe
        if str(recipe) in PRESETS:
            return PRESETS[str(recipe)]
        path = Path(recipe)
        if not path.is_file():
            raise CompilationError(
                f"no recipe {str(recipe)!r}: expected {' or '.join(PRESETS)}, or a YAML file"
            )
        try:
            return Recipe.model_validate(yaml.safe_load(path.read_text()))
        except (yaml.YAMLError, ValidationError) as error:
            raise CompilationError(f"recipe {path}: {' '.join(str(error).split())}") from error


PRESETS = {
    "float": Recipe(name="float", weights="f32"),
    "w8a8": Recipe(name="w8a8"),
}
