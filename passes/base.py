"""What a pass is: a frozen dataclass whose fields are its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray
from torch_mlir import ir

from girih.runtime.target import Target


@dataclass(frozen=True)
class Unit:
    """What an integer is worth: real value = (integer - offset) x scale x factor[channel].

    maximum, below: the range that it was chosen for, as `Plan`'s groups have it.
    """

    scale: float
    factor: NDArray[Any] | None
    offset: int
    maximum: float
    below: float | None


@dataclass
class Compilation:
    """What passes share beside the IR.

    `parameters` maps names of ``mfm.parameter`` to arrays: weights never live in the IR. Arrays
    are never modified in place; a pass that changes a weight adds it under a new name.
    """

    parameters: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    target: Target | None = None
    calibration: dict[str, list[list[NDArray[Any]]]] = field(
        default_factory=dict[str, list[list[NDArray[Any]]]]
    )
    """Per function, example inputs for the `calibrate` pass."""
    episodes: list[list[tuple[str, list[NDArray[Any]]]]] = field(
        default_factory=list[list[tuple[str, list[NDArray[Any]]]]]
    )
    """Calls in order, each a function's name and its inputs without states, for the same pass:
    states start as zeros with every episode, and go from call to call."""
    mapping: Path | None = None
    """A file of tiles that `tile` takes for the regions that it names."""
    chosen: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """What `tile` chose: per region its tiles, and what they cost by themselves."""
    statistics: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    """Largest magnitude per channel (last axis) of each value that `calibrate` observed."""
    correlations: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    """Per weight (N, K) of a linear operation the sum of x^T x over its inputs x (rows, K)."""
    squares: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    """Mean square per channel, by the same keys, of the values that linear operations read."""
    influence: dict[str, float] = field(default_factory=dict[str, float])
    """Per ``function.block``, a block by its module path: how far it turns the residual stream."""
    units: dict[str, Unit] = field(default_factory=dict[str, Unit])
    """By the same keys, what the integers that stand for a value are worth, where `quantize` has
    `notes`; a later one, of other weights, keeps them."""


class Pass(Protocol):
    """A rewrite of one module, in place."""

    name: ClassVar[str]

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite the module; raise `GirihError` for input that the pass must refuse."""
        ...
