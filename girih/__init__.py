"""girih compiles multimodal models from PyTorch to IREE and to a simulated accelerator.

The public names are loaded on first use, so that running a compiled artifact (`girih.runtime`)
never imports the compiler, torch or MLIR.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from girih.runtime.errors import GirihError

__all__ = ["GirihError", "__version__"]

__version__ = "0.1.0"

# Public name -> the module that defines it. A new name goes here, in __all__ and, for type
# checkers, in the block above.
_HOMES = {
    "GirihError": "girih.runtime.errors",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'girih' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
