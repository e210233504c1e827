"""What a choice of tiles costs: the timing formulas of docs/isa.md, summed over a layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Generic, TypeVar

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
    chip.
    """

    rows: int
    columns: int
    depth: int
    output_bytes: int
    window: tuple[int, int, int] | None = None
    activation: bool = False
    residual_bytes: int = 0
    batches: int = 1

    def input_bytes(self, rows: int, depth: int) -> int:
        """Bytes of the input that a tile of output rows needs."""
        if self.window is None:
            return rows * depth
        stride, kernel, channels = self.window
        return ((rows - 1) * stride + kernel) * channels


@dataclass(frozen=True)
class ProductTiles:
    """Tile sizes of a product, which operand's loop is outermost, and the array's dataflow.

    `outer_slots` is 1 where the outer operand's next tile is loaded only when this one is done
    with: a stall, for twice the tile.
    """

    rows: int
    columns: int
    depth: int
    outer: str
    stationary: str
    outer_slots: int = 2

    def slots(self, what: Product) -> tuple[int, int]:
        """Ring slots of input and weight buffers: two where there is a next tile to prefetch."""
        several_rows = self.rows < what.rows or what.batches > 1
        several_columns = self.columns < what.columns or what.batches > 1
        if self.depth < what.depth:
            return (2 if what.window is None else 1 + several_rows), 2
        inputs, weights = 1 + several_rows, 1 + several_columns
        if self.outer == "weights":
            return inputs, min(weights, self.outer_slots)
        return min(inputs, self.outer_slots), weights

    def output_slots(self, what: Product) -> int:
        """Ring slots of sums and outputs: two where there is more than one tile."""
        return 1 + (self.rows * self.columns < what.rows * what.columns or what.batches > 1)


def product_bytes(what: Product, tiles: ProductTiles) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes that a choice of tiles takes."""
    inputs, weights = tiles.slots(what)
    size = tiles.rows * tiles.columns
    outputs = tiles.output_slots(what)
    total = inputs * lines(what.input_bytes(tiles.rows, tiles.depth))
    total += weights * lines(tiles.columns * tiles.depth)
    parameter_slots = 1 + (tiles.columns < what.columns)
    total += parameter_slots * lines(12 * tiles.columns)
    total += outputs * lines(size * what.output_bytes)
    if what.activation:
        total += lines(4096) + parameter_slots * lines(8 * tiles.columns) + lines(2 * size)
    if what.residual_bytes:
        total += lines(2 * size) + outputs * lines(size * what.residual_bytes)
    return total, outputs * lines(4 * size)


def product_cycles(what: Product, tiles: ProductTiles, target: Target) -> tuple[float, int]:
    """(estimated cycles, DRAM bytes) of a product under a choice of tiles."""
    matrix = sum(
        a * b * c * matmul_cycles(target, m, n, k, tiles.stationary)
        for (a, m), (b, n), (c, k) in product(
            spans(what.rows, tiles.rows),
            spans(what.columns, tiles.columns),
            spans(what.depth, tiles.depth),
        )
    )
    row_tiles = math.ceil(what.rows / tiles.rows)
    column_tiles = math.ceil(what.columns / tiles.columns)
    depth_tiles = math.ceil(what.depth / tiles.depth)
    split = depth_tiles > 1
    # The outer operand stays while the inner one streams past it; with a split depth, neither.
    input_passes = column_tiles if (tiles.outer == "weights" or split) and row_tiles > 1 else 1
    weight_passes = row_tiles if (tiles.outer == "inputs" or split) and column_tiles > 1 else 1
    if split:
        input_passes, weight_passes = column_tiles, row_tiles
    inputs = row_tiles * what.input_bytes(tiles.rows, what.depth)
    if what.window is None:
        inputs = what.rows * what.depth
    outputs = what.rows * what.columns * (what.output_bytes + what.residual_bytes)
    weights = what.columns * what.depth
    if split:
        # A row that is only part of its tensor's row fills whole bursts by itself: short splits
        # of the depth pay for bytes that they do not use.
        waste = bursts(tiles.depth, target.dram.burst_bytes) / tiles.depth
        weights = math.ceil(weights * waste)
        inputs = math.ceil(inputs * waste) if what.window is None else inputs
    moved = inputs * input_passes + weights * weight_passes + outputs + 12 * what.columns
    transfers = row_tiles * column_tiles * (1 + bool(what.residual_bytes))
    transfers += row_tiles * depth_tiles * input_passes + column_tiles * depth_tiles * weight_passes
    bus = moved / target.dram_bytes_per_cycle + transfers * target.dram.overhead_cycles
    costs = target.vector.costs
    per_element = costs.rescale + (costs.gelu if what.activation else 0)
    per_element += costs.add if what.residual_bytes else 0
    vector = math.ceil(what.rows * what.columns / target.vector.lanes) * per_element
    vector += row_tiles * column_tiles * target.vector.latency_cycles
    # Before the first product there is nothing to overlap the first loads with, and after the
    # last one nothing to overlap the last result with.
    first = what.input_bytes(tiles.rows, tiles.depth) + tiles.columns * tiles.depth
    last = tiles.rows * tiles.columns
    ramp = (first + last * what.output_bytes) / target.dram_bytes_per_cycle
    ramp += 2 * target.dram.latency_cycles + last / target.vector.lanes * per_element
    if tiles.outer_slots == 1:
        held = tiles.columns * tiles.depth
        changes = column_tiles - 1
        if tiles.outer == "inputs":
            held, changes = what.input_bytes(tiles.rows, tiles.depth), row_tiles - 1
        wait = target.dram.latency_cycles + target.array.rows + target.array.columns
        ramp += changes * (held / target.dram_bytes_per_cycle + wait)
    instructions = row_tiles * column_tiles * (depth_tiles + 3) + transfers
    return max(matrix, bus, vector) + ramp + instructions * ISSUE_CYCLES, moved


_Tiles = TypeVar("_Tiles")
SLACK = 0.03
"""Cycles that a choice of tiles may cost to save DRAM bytes, as a share of the least."""


class Cheapest(Generic[_Tiles]):
    """Choices of tiles with what they cost."""

    def __init__(self) -> None:
        self._known: list[tuple[float, int, _Tiles]] = []

    def add(self, tiles: _Tiles, cycles: float, moved: int) -> None:
        """Take a choice into account."""
        self._known.append((cycles, moved, tiles))

    def choice(self) -> _Tiles | None:
        """Fewest bytes, then least cycles, among those within `SLACK` of the least cycles."""
        if not self._known:
            return None
        limit = min(cycles for cycles, _, _ in self._known) * (1 + SLACK)
        near = [each for each in self._known if each[0] <= limit]
        return min(near, key=lambda each: (each[1], each[0]))[2]


def candidates(total: int, unit: int, smallest: int = 1) -> Iterator[int]:
    """Tile sizes worth trying: the whole, multiples of the array's side, small powers of two."""
    sizes = {min(total, unit * factor) for factor in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)}
    sizes |= {min(total, 1 << power) for power in range(8) if 1 << power < unit}
    # Balanced splits leave no small rest.
    sizes |= {math.ceil(math.ceil(total / parts) / unit) * unit for parts in (2, 3, 4, 5, 6, 8, 10)}
    yield from sorted({min(size, total) for size in sizes if size >= smallest} | {total})


@lru_cache(maxsize=4096)
def choose_product(what: Product, target: Target) -> ProductTiles | None:
    """Of the tiles that take hardly longer than the fastest, those of fewest DRAM bytes.

    None where none fits.
    """
    found = Cheapest[ProductTiles]()
    side = target.array.rows
    for rows, columns in product(
        candidates(what.rows, side), candidates(what.columns, target.array.columns)
    ):
        if rows * columns * 4 > target.accumulator_bytes:
            continue
        for depth in candidates(what.depth, side, min(what.depth, side)):
            ways = (
                product(("weights", "inputs"), (2, 1)) if depth == what.depth else [("weights", 2)]
            )
            for outer, outer_slots in ways:
                tiles = ProductTiles(rows, columns, depth, outer, "weight", outer_slots)
                scratchpad, accumulator = product_bytes(what, tiles)
                if scratchpad > target.scratchpad_bytes or accumulator > target.accumulator_bytes:
                    continue
                for stationary in ("weight", "output"):
                    tiles = replace(tiles, stationary=stationary)
                    found.add(tiles, *product_cycles(what, tiles, target))
    return found.choice()


def smallest_product_bytes(what: Product) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes of the smallest tiles, for the error message."""
    return product_bytes(what, ProductTiles(1, 1, 1, "weights", "weight"))
