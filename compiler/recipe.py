"""Recipe: what a compilation does to a model's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from girih.passes.quantization.clipping import Ranges
from girih.passes.quantization.rules import Activations, NodeRule, Weights
from girih.passes.quantization.scaling import Scaling
from girih.runtime.errors import CompilationError


class Pruning(BaseModel):
    """What goes from the nodes that a pattern matches: weights, hidden channels, heads or blocks.

    match: a module's path, with ``*`` and ``?`` as in file names. Exactly one of hidden: a share of
    the channels of MLPs, of which a multiple of `multiple` stay; heads: a share of those of
    attentions; blocks: so many, of those that matter least; sparsity: single weights, as many as
    the target's array declares. The passes prune-hidden, prune-heads, remove-blocks and sparsify
    say how they choose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str = Field(default="*", min_length=1)
    hidden: float | None = Field(default=None, ge=0, lt=1)
    heads: float | None = Field(default=None, ge=0, lt=1)
    blocks: int | None = Field(default=None, ge=1)
    sparsity: Literal[True] | None = None
    multiple: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Pruning:
        said = (self.hidden, self.heads, self.blocks, self.sparsity)
        if sum(each is not None for each in said) != 1:
            raise ValueError("expected exactly one of hidden, heads, blocks and sparsity")
        return self


class Recipe(BaseModel):
    """How a model is quantized. ``float`` leaves it alone; all else computes with integers.

    weights: bits of the weights of linear operations, of the tables that share them, and of
    convolutions; 4 bits come in groups of 32 with a scale each, where rows divide into such groups.
    activations: bits of what those weights are multiplied with; 16 take two products of 8.
    rules: nodes of the model's hierarchy for which other bits hold, or that stay on the host; the
    most specific wins. smoothing: share of an activation's channel range that moves into the
    weights that read it (SmoothQuant's alpha, Xiao et al. 2023); 0 turns it off. rounding: of
    weights of 4 bits, each to its ``nearest``, or later ones making up for the errors of earlier
    ones on the calibration inputs (``compensated``: GPTQ, Frantar et al. 2023). tables: bits of
    what is added or looked up and multiplied with nothing, such as positions. scaling: of channels
    that weights of 4 bits read, by ``smoothing`` too, or ``activation-aware``: by the factors of
    the least error (AWQ, Lin et al. 2023). ranges: of activations of 8 bits, the ``largest``
    magnitude, the ``percentile`` of them, or that of the least mean square error (``mse``).
    pruning: what goes before anything else, by what the calibration inputs say of it: blocks
    first, then heads, hidden channels and single weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weights: Weights = 8
    activations: Activations = 8
    rules: tuple[NodeRule, ...] = ()
    smoothing: float = Field(default=0.5, ge=0, le=1)
    rounding: Literal["nearest", "compensated"] = "compensated"
    tables: Literal[8, 16] = 16
    scaling: Scaling = "smoothing"
    ranges: Ranges = "largest"
    percentile: float = Field(default=99.99, gt=0, le=100)
    pruning: tuple[Pruning, ...] = ()

    @property
    def quantized(self) -> bool:
        """Whether the compiled program computes with integers."""
        return self.weights != "float" or any(
            rule.weights not in (None, "float") for rule in self.rules
        )

    @property
    def compensates(self) -> bool:
        """Whether calibration must note how inputs go together."""
        has_groups = 4 in (self.weights, *(rule.weights for rule in self.rules))
        return has_groups and self.rounding == "compensated"

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
                f"no recipe {str(recipe)!r}: expected {', '.join(PRESETS)}, or a YAML file"
            )
        try:
            return Recipe.model_validate(yaml.safe_load(path.read_text()))
        except (yaml.YAMLError, ValidationError) as error:
            raise CompilationError(f"recipe {path}: {' '.join(str(error).split())}") from error


PRESETS = {
    "float": Recipe(name="float", weights="float"),
    "w8a8": Recipe(name="w8a8"),
    "w4a8": Recipe(name="w4a8", weights=4, tables=8),
}
