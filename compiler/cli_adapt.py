"""`girih adapt`: a model and what it learns from by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.cli_data import load_with_episodes
from girih.compiler.program import CompiledProgram
from girih.compiler.recipe import Recipe
from girih.runtime.target import Target


def adapt_named(
    model: str, data: Sequence[str], progress: Callable[[str], None], **options: Any
) -> CompiledProgram:
    """Adapt the model that a word of the command line names to the examples that others name.

    Raises `GirihError`: no such model or examples, or options that can not be used.
    """
    # Cheap to refuse, and a model may take a minute to build.
    options["target"] = Target.load(options["target"])
    options["recipe"] = Recipe.load(options["recipe"])
    module, inputs, episodes = load_with_episodes(model, data, progress)
    return adapt(module, inputs, episodes=episodes, progress=progress, **options)
