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
