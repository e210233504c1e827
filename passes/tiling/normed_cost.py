"""What a norm and the products that read it cost as one region, and the cheapest choice."""

from __future__ import annotations

import math
from dataclasses import dataclass

from girih.passes.tiling.cost import (
    ISSUE_CYCLES,
    Product,
    candidates,
    lines,
    matmul_cycles,
    spans,
)
from girih.passes.tiling.search import Candidate, price
from girih.runtime.target import Target


@dataclass(frozen=True)
class NormedProducts:
    """rows x depth int16, normalized, times each of the products' weights.

    The products are described as they would be alone: their inputs are the norm's result, which is
    also written to DRAM where somebody else reads it (`is_kept`).
    """

    products: tuple[Product, ...]
    is_kept: bool

    @property
    def rows(self) -> int:
        """Rows that are normalized."""
        return self.products[0].rows

    @property
    def depth(self) -> int:
        """Channels that are normalized."""
        return self.products[0].depth

    @property
    def columns(self) -> int:
        """Columns of all products together."""
        return sum(each.columns for each in self.products)


@dataclass(frozen=True)
class Part:
    """`count` columns of a product from `first` on."""

    product: int
    first: int
    count: int


@dataclass(frozen=True)
class NormedTiles:
    """Rows and columns per tile; `held` columns of weights stay on chip while all rows pass."""

    rows: int
    columns: int
    held: int

    def passes(self, what: NormedProducts) -> list[list[Part]]:
        """What is held while all rows pass, pass by pass."""
        passes: list[list[Part]] = [[]]
        room = self.held
        for index, product in enumerate(what.products):
            first = 0
            while first < product.columns:
                if room == 0:
                    passes.append([])
                    room = self.held
                count = min(room, product.columns - first)
                passes[-1].append(Part(index, first, count))
                first, room = first + count, room - count
        return passes


def normed_bytes(what: NormedProducts, tiles: NormedTiles) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes that a choice of tiles takes."""
    depth = what.depth
    # One slot for what is loaded, two for what is normalized: the next rows are loaded and
    # normalized while these are multiplied.
    total = lines(2 * tiles.rows * depth) + 2 * lines(tiles.rows * depth) + lines(8 * depth)
    held = max(sum(_part_bytes(what, tiles, part) for part in each) for each in tiles.passes(what))
    return total + held, 2 * lines(4 * tiles.rows * tiles.columns)


def _part_bytes(what: NormedProducts, tiles: NormedTiles, part: Part) -> int:
    product, size = what.products[part.product], tiles.rows * min(tiles.columns, part.count)
    total = lines(part.count * what.depth) + lines(12 * part.count)
    total += 2 * lines(size * product.output_bytes)
    if product.activation:
        total += lines(4096) + lines(8 * part.count) + lines(2 * size)
    if product.residual_bytes:
        total += lines(2 * size) + 2 * lines(size * product.residual_bytes)
    return total


def normed_cycles(
    what: NormedProducts, tiles: NormedTiles, target: Target
) -> tuple[float, float, float]:
    """(cycles at least, estimated cycles, DRAM bytes) of the region under a choice of tiles."""
    rows, depth, passes = what.rows, what.depth, len(tiles.passes(what))
    costs, lanes = target.vector.costs, target.vector.lanes
    row_tiles = math.ceil(rows / tiles.rows)
    matrix = sum(
        a * b * matmul_cycles(target, height, width, depth, "weight")
        for product in what.products
        for a, height in spans(rows, tiles.rows)
        for b, width in spans(product.columns, tiles.columns)
    )
    weights = sum(each.columns * depth * each.weight_bytes for each in what.products)
    moved = passes * rows * depth * 2 + weights + 12 * what.columns
    moved += rows * depth if what.is_kept else 0
    normalized = rows * (depth * costs.layer_norm + costs.root_divide) / lanes
    vector, transfers = passes * normalized, passes * row_tiles
    for product in what.products:
        width = product.output_bytes + product.residual_bytes
        moved += rows * product.columns * width
        per_element = costs.rescale + (costs.gelu if product.activation else 0)
        per_element += costs.add if product.residual_bytes else 0
        vector += rows * product.columns * per_element / lanes
        tiles_here = row_tiles * math.ceil(product.columns / tiles.columns)
        transfers += tiles_here * (1 + bool(product.residual_bytes))
    bus = moved / target.dram_bytes_per_cycle + transfers * target.dram.overhead_cycles
    bound = max(matrix, moved / target.dram_bytes_per_cycle, vector)
    # Weights are loaded before a pass, while nothing is multiplied; then the first rows.
    ramp = weights / target.dram_bytes_per_cycle
    first = 2 * tiles.rows * depth / target.dram_bytes_per_cycle
    first += tiles.rows * (depth * costs.layer_norm + costs.root_divide) / lanes
    ramp += passes * (first + 4 * target.dram.latency_cycles)
    if row_tiles == 1:
        # No next rows whose transfers and norm would run beside the products.
        return bound, matrix + bus + vector + ramp, moved
    return bound, max(matrix, bus, vector) + ramp + transfers * 4 * ISSUE_CYCLES, moved


def normed_candidates(what: NormedProducts, target: Target) -> list[Candidate[NormedTiles]]:
    """What is worth trying on a target."""
    found: list[Candidate[NormedTiles]] = []
    for rows in candidates(what.rows, target.array.rows, min(what.rows, target.array.rows)):
        for columns in candidates(what.columns, target.array.columns):
            tiles = _largest_held(what, rows, columns, target)
            if tiles is not None:
                bound, cycles, moved = normed_cycles(what, tiles, target)
                found.append(Candidate(tiles, bound, moved, price(target, cycles, moved)))
    return found


def _largest_held(
    what: NormedProducts, rows: int, columns: int, target: Target
) -> NormedTiles | None:
    """The fewest passes that fit, in whole tiles of columns as equal as possible."""
    for passes in range(1, 9):
        held = math.ceil(math.ceil(what.columns / passes) / columns) * columns
        tiles = NormedTiles(rows, columns, held)
        scratchpad, accumulator = normed_bytes(what, tiles)
        if scratchpad <= target.scratchpad_bytes and accumulator <= target.accumulator_bytes:
            return tiles
    return None
