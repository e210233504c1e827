"""Where an operation comes from: the user's line and the module's path, out of MLIR's locations."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from torch_mlir import ir

_ROOT = Path(__file__).resolve().parent.parent
_OURS = tuple(f"{_ROOT / part}/" for part in ("compiler", "passes", "dialects", "runtime"))
_OWN_MODELS = f"{_ROOT / 'compiler' / 'models'}/"
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + "/"
_PACKAGES = ("torch", "torch_mlir", "torchgen", "functorch", "einops")
"""Installed packages that hold no models: the frame that calls them says more."""

Frame = tuple[str, int]
"""File and line."""


def lies_in(path: str, pattern: str) -> bool:
    """Whether a module, or one that it lies in, matches a pattern of ``*`` and ``?``."""
    parts = path.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def source_line(location: ir.Location) -> str:
    """``file:line`` of the model's code behind a location; empty where there is none."""
    frames = re.findall(r'"([^"]+\.py)":(\d+)', str(location))
    return frame_text(model_frame([(file, int(line)) for file, line in frames]))


def model_frame(frames: Sequence[Frame]) -> Frame | None:
    """The innermost frame of the model's own code, of frames that begin with the innermost.

    Code of torch, of Python and of the compiler stands back; the models that come with the
    compiler count where nobody else's code takes part.
    """
    own = [frame for frame in frames if frame[0].startswith(_OWN_MODELS)]
    return next((frame for frame in [*filter(_is_model, frames), *own]), None)


def frame_text(frame: Frame | None) -> str:
    """``file:line`` of a frame; empty where there is none."""
    return "" if frame is None else f"{frame[0]}:{frame[1]}"


def module_path(location: ir.Location) -> str:
    """Path of the module that an operation belongs to, such as ``layers.0.attention``."""
    return location.name_str if isinstance(location, ir.NameLoc) else ""


def _is_model(frame: Frame) -> bool:
    _, installed, rest = frame[0].rpartition("/site-packages/")
    if installed:
        return rest.partition("/")[0] not in _PACKAGES
    return not frame[0].startswith((*_OURS, _STANDARD_LIBRARY))
