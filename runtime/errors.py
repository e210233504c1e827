"""The one error that the library raises on purpose, and its kinds.

This module imports nothing, so that every part (dialects, passes, compiler, runtime) may use it.
"""

from __future__ import annotations


class GirihError(Exception):
    """Something the user can act on: what was found, what was expected, where, what to do."""


class TargetError(GirihError):
    """A target file that can not be found, read or believed."""


class ProgramError(GirihError):
    """A Program that is malformed, or that the simulated machine refuses to run."""


class ImportingError(GirihError):
    """A PyTorch module that torch.export or torch-mlir can not take."""


class CompilationError(GirihError):
    """A model, recipe or option that the compiler must refuse."""


class InputError(GirihError):
    """A call whose arguments do not fit the compiled entry point."""


class ArtifactError(GirihError):
    """An artifact that is missing, damaged or of another version."""
