"""girih compiles multimodal models from PyTorch to IREE and to a simulated accelerator.

The public names are loaded on first use, so that running a compiled artifact (`girih.runtime`)
never imports the compiler, torch or MLIR.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from girih.compiler.adaptation.adapting import adapt
    from girih.compiler.artifact import load
    from girih.compiler.checkpoint import empty_weights, load_checkpoint
    from girih.compiler.compilation import DecisionWarning, ExportWarning, compile
    from girih.compiler.compression.compress import compress
    from girih.compiler.compression.result import Compression
    from girih.compiler.entries import Entry
    from girih.compiler.episodes import Call, Episode
    from girih.compiler.estimation import estimate
    from girih.compiler.generator import (
        Generator,
        compile_generator,
        estimate_generator,
        load_generator,
    )
    from girih.compiler.patches import Patch, Replacement, Site
    from girih.compiler.program import CompiledProgram as Program
    from girih.compiler.program import EntryPoint
    from girih.compiler.recipe import Recipe
    from girih.runtime.errors import (
        ArtifactError,
        CompilationError,
        GirihError,
        ImportingError,
        InputError,
        ProgramError,
        TargetError,
    )
    from girih.runtime.execution import Session
    from girih.runtime.report import Report, Simulation
    from girih.runtime.target import Target

__all__ = [
    "ArtifactError",
    "Call",
    "CompilationError",
    "Compression",
    "DecisionWarning",
    "Entry",
    "EntryPoint",
    "Episode",
    "ExportWarning",
    "Generator",
    "GirihError",
    "ImportingError",
    "InputError",
    "Patch",
    "Program",
    "ProgramError",
    "Recipe",
    "Replacement",
    "Report",
    "Session",
    "Simulation",
    "Site",
    "Target",
    "TargetError",
    "__version__",
    "adapt",
    "compile",
    "compile_generator",
    "compress",
    "empty_weights",
    "estimate",
    "estimate_generator",
    "load",
    "load_checkpoint",
    "load_generator",
]

__version__ = "0.1.0"

# Public name -> the module that defines it, and after a colon its name there if it is another one.
# A new name goes here, in __all__ and, for type checkers, in the block above.
_HOMES = {
    "ArtifactError": "girih.runtime.errors",
    "Call": "girih.compiler.episodes",
    "CompilationError": "girih.runtime.errors",
    "Compression": "girih.compiler.compression.result",
    "Episode": "girih.compiler.episodes",
    "Entry": "girih.compiler.entries",
    "EntryPoint": "girih.compiler.program",
    "DecisionWarning": "girih.compiler.compilation",
    "ExportWarning": "girih.compiler.compilation",
    "Generator": "girih.compiler.generator",
    "GirihError": "girih.runtime.errors",
    "ImportingError": "girih.runtime.errors",
    "InputError": "girih.runtime.errors",
    "Patch": "girih.compiler.patches",
    "Program": "girih.compiler.program:CompiledProgram",
    "ProgramError": "girih.runtime.errors",
    "Recipe": "girih.compiler.recipe",
    "Replacement": "girih.compiler.patches",
    "Report": "girih.runtime.report",
    "Session": "girih.runtime.execution",
    "Simulation": "girih.runtime.report",
    "Site": "girih.compiler.patches",
    "Target": "girih.runtime.target",
    "TargetError": "girih.runtime.errors",
    "adapt": "girih.compiler.adaptation.adapting",
    "compile": "girih.compiler.compilation",
    "compile_generator": "girih.compiler.generator",
    "compress": "girih.compiler.compression.compress",
    "empty_weights": "girih.compiler.checkpoint",
    "estimate": "girih.compiler.estimation",
    "estimate_generator": "girih.compiler.generator",
    "load": "girih.compiler.artifact",
    "load_checkpoint": "girih.compiler.checkpoint",
    "load_generator": "girih.compiler.generator",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'girih' has no attribute {name!r}")
    module, _, original = home.partition(":")
    value = getattr(importlib.import_module(module), original or name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
