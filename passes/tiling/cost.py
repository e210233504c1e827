"""What a choice of tiles costs: the timing formulas of docs/isa.md, summed over a layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from girih.dialects.arithmetic import GROUP, GROUP_BYTES
from girih.runtime.target import Target

LINE = 64
ISSUE_CYCLES = 8
"""Charged per instruction when tiles are chosen: what waits and rings never quite hide, and a
preference for shorter programs between choices that are otherwise alike."""


def lines(size: int) -> int:
    """Bytes rounded up to whole 64-byte lines, as buffers are allocated."""
    return (size + LINE - 1) // LINE * LINE


def bursts(size: int, burst: int) -> int:
    """Bytes that a transfer of `size` bytes occupies the bus for."""
    return (size + burst - 1) // burst * burst


def spans(total: int, size: int) -> list[tuple[int, int]]:
    """(count, length) of the tiles of a dimension: the full ones, then the rest."""
    full, rest = divmod(total, size)
    return [(count, length) for count, length in ((full, size), (1, rest)) if count and length]


def matmul_cycles(target: Target, rows: int, columns: int, depth: int, stationary: str) -> int:
    """Occupancy of the array by one matmul instruction."""
    across = math.ceil(columns / target.array.columns)
    if stationary == "output":
        return math.ceil(rows / target.array.rows) * across * max(depth, target.array.rows)
    return math.ceil(depth / target.array.rows) * across * max(rows, target.array.rows)


@dataclass(frozen=True)
class Product:
    """A matrix product with what happens to its result on chip.

    rows x depth by depth x columns, `batches` times with other operands. `window` is (stride,
    kernel, channels) of a convolution, whose input rows overlap, or None. `output_bytes` per
    element; `activation` and `residual` say what follows the rescale before the result leaves the
    chip. Without parameters, one multiplier is the same for all columns. `buffers` is the ring
    slots of what streams. Weights that are packed have 4 bits, and a scale for each group of depth.
    """

    rows: int
    columns: int
    depth: int
    output_bytes: int
    window: tuple[int, int, int] | None = None
    activation: bool = False
    residual_bytes: int = 0
    batches: int = 1
    has_parameters: bool = True
    buffers: int = 2
    is_packed: bool = False

    @property
    def weight_bytes(self) -> float:
        """Bytes of one weight in DRAM."""
        return GROUP_BYTES / GROUP if self.is_packed else 1

    def depth_unit(self, side: int) -> int:
        """What parts of the depth are multiples of, on an array of so many rows."""
        return math.lcm(side, GROUP) if self.is_packed else side

    def input_bytes(self, rows: int, depth: int) -> int:
        """Bytes of the input that a tile of output rows needs."""
        if self.window is None:
            return rows * depth
        stride, kernel, channels = self.window
        return ((rows - 1) * stride + kernel) * channels


def candidates(total: int, unit: int, smallest: int = 1) -> Iterator[int]:
    """Tile sizes worth trying: the whole, multiples of the array's side, small powers of two."""
    sizes = {min(total, unit * factor) for factor in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)}
    sizes |= {min(total, 1 << power) for power in range(8) if 1 << power < unit}
    # Balanced splits leave no small rest.
    sizes |= {math.ceil(math.ceil(total / parts) / unit) * unit for parts in (2, 3, 4, 5, 6, 8, 10)}
    yield from sorted({min(size, total) for size in sizes if size >= smallest} | {total})
