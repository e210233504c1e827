"""States: tensors that stay on the device from call to call, named in functions' signatures."""

from __future__ import annotations

from torch_mlir.dialects import func

STATE = "mfm.state"


def state_of(function: func.FuncOp, side: str, index: int) -> str | None:
    """Name of the state that an argument (`arg_attrs`) or result (`res_attrs`) is, or None."""
    attributes = function.attributes
    if side not in attributes:
        return None
    entry = attributes[side][index]
    return entry[STATE].value if STATE in entry else None
