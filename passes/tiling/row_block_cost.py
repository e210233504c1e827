"""What a chain of layers costs when it runs block of rows by block of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as combinations

from girih.passes.tiling.cost import Product, lines, matmul_cycles, spans
from girih.passes.tiling.search import Candidate, price
from girih.runtime.target import Target

SHORTLIST = 32
"""Choices, by their guesses, that the search sees."""
_MOST_BLOCKS = 16


@dataclass(frozen=True)
class RowBlock:
    """[before ->] norm -> products [-> afters], all over the same rows.

    `before` ends in the int16 values that are normalized, which also go to DRAM unless they are
    resident. The products read the norm's result; each of the `afters`, if any, reads that of one
    product, which then stays on chip. `is_kept` says whether the norm's result goes to DRAM too.
    """

    before: Product | None
    products: tuple[Product, ...]
    afters: tuple[Product, ...]
    is_kept: bool

    @property
    def is_resident(self) -> bool:
        """Whether what is normalized stays on chip: several `afters` are added to it in turn."""
        return len(self.afters) > 1

    @property
    def rows(self) -> int:
        """Rows of all layers."""
        return self.products[0].rows

    @property
    def depth(self) -> int:
        """Channels that are normalized."""
        return self.products[0].depth

    @property
    def members(self) -> tuple[Product, ...]:
        """All products."""
        return (*self.products, *self.afters, *(() if self.before is None else (self.before,)))


@dataclass(frozen=True)
class RowBlockTiles:
    """`block` rows pass all layers before the next ones begin; weights are loaded once a block.

    Within a block: tiles of `rows`, by `columns` of the products' weights, and by `after_columns`
    and parts of the depth (`after_depth`) of those of the `afters`.
    """

    block: int
    rows: int
    columns: int
    after_columns: int = 1
    after_depth: int = 1


def row_block_candidates(what: RowBlock, target: Target) -> list[Candidate[RowBlockTiles]]:
    """What is worth trying on a target: the choices of lowest guesses among those that fit."""
    found = [
        _candidate(what, tiles, target)
        for tiles in _choices(what, target)
        if _fits(what, tiles, target)
    ]
    return sorted(found, key=lambda each: each.guess)[:SHORTLIST]


def _choices(what: RowBlock, target: Target) -> Iterator[RowBlockTiles]:
    side, across = target.array.rows, target.array.columns
    widest = max(each.columns for each in what.products)
    blocks = {math.ceil(what.rows / count) for count in range(1, _MOST_BLOCKS + 1)}
    ends = [(1, 1)]
    if what.afters:
        depth = what.afters[0].depth
        unit = max(each.depth_unit(side) for each in what.afters)
        parts = {depth} | {-(-math.ceil(depth / n) // unit) * unit for n in (2, 3, 4, 6, 8, 12)}
        widths = {min(what.afters[0].columns, across * factor) for factor in (1, 2, 4)}
        ends = list(combinations(sorted(widths), sorted(min(part, depth) for part in parts)))
    for block in sorted(blocks):
        for rows in sorted({min(block, side * factor) for factor in (1, 2, 4)}):
            for columns in sorted({min(widest, across * factor) for factor in (1, 2, 4, 8)}):
                for after_columns, after_depth in ends:
                    yield RowBlockTiles(block, rows, columns, after_columns, after_depth)


def _fits(what: RowBlock, tiles: RowBlockTiles, target: Target) -> bool:
    scratchpad, accumulator = row_block_bytes(what, tiles)
    return scratchpad <= target.scratchpad_bytes and accumulator <= target.accumulator_bytes


def row_block_bytes(what: RowBlock, tiles: RowBlockTiles) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes of the fullest phase; the packing may need a little more."""
    depth, rows, block = what.depth, tiles.rows, tiles.block
    first = 0 if what.is_resident else 2 * lines(2 * rows * depth)
    sums = [0, 2 * lines(4 * rows * tiles.columns), 0]
    if what.before is not None:
        before = what.before
        width = min(tiles.columns, before.columns)
        first += lines(before.columns * before.depth)
        first += 0 if before.depth == depth else 2 * lines(rows * before.depth)
        first += _epilogue_bytes(before, rows, width, before.columns, 1)
        first -= 2 * lines(rows * width * before.output_bytes)
        sums[0] = 2 * lines(4 * rows * width)
    normalized = lines(block * depth)
    streams = 0
    for product in what.products[:1] if what.is_resident else what.products:
        width = min(tiles.columns, product.columns)
        streams += 2 * lines(width * depth) + _epilogue_bytes(product, rows, width, width, 2)
    hidden, last = 0, 0
    if what.afters:
        after = what.afters[0]
        hidden = lines(block * after.depth)
        streams -= 2 * lines(rows * tiles.columns)
        width = tiles.after_columns
        last = 2 * lines(width * tiles.after_depth)
        last += _epilogue_bytes(after, rows, width, width, 2)
        sums[2] = 2 * lines(4 * block * width)
    fixed = lines(8 * depth)
    if what.before is None:
        first, sums[0] = first + streams + hidden, sums[1]
    if what.is_resident:
        total = lines(2 * block * depth)
        # It takes the place of the buffers for what is added and for the sum.
        last -= 4 * lines(2 * rows * tiles.after_columns)
        phases = (first + normalized, normalized + streams + hidden + last)
        return fixed + total + max(phases), max(sums[0], sums[1] + sums[2])
    phases = (first + normalized, normalized + streams + hidden, hidden + last)
    return fixed + max(phases), max(sums)


def _epilogue_bytes(what: Product, rows: int, columns: int, loaded: int, slots: int) -> int:
    size = rows * columns
    total = slots * lines(12 * loaded) + 2 * lines(size * what.output_bytes)
    if what.activation:
        total += lines(4096) + slots * lines(8 * loaded) + lines(2 * size)
    if what.residual_bytes:
        total += lines(2 * size) + 2 * lines(size * what.residual_bytes)
    return total


def _candidate(what: RowBlock, tiles: RowBlockTiles, target: Target) -> Candidate[RowBlockTiles]:
    rows, depth = what.rows, what.depth
    blocks = math.ceil(rows / tiles.block)
    costs, lanes, per_cycle = target.vector.costs, target.vector.lanes, target.dram_bytes_per_cycle
    matrix, vector = 0.0, rows * (depth * costs.layer_norm + costs.root_divide) / lanes
    weights = 0.0
    for product in what.members:
        is_after = any(product is after for after in what.afters)
        width = min(tiles.after_columns if is_after else tiles.columns, product.columns)
        height = tiles.block if is_after else tiles.rows
        part = tiles.after_depth if is_after else product.depth
        matrix += sum(
            a * b * c * d * matmul_cycles(target, tall, wide, deep, "weight")
            for a, high in spans(rows, tiles.block)
            for b, tall in spans(high, min(height, high))
            for c, wide in spans(product.columns, width)
            for d, deep in spans(product.depth, part)
        )
        per_element = costs.rescale + (costs.gelu if product.activation else 0)
        per_element += costs.add if product.residual_bytes else 0
        vector += rows * product.columns * per_element / lanes
        weights += product.columns * (product.depth * product.weight_bytes + 12)
    moved = blocks * weights + rows * depth * what.is_kept
    if what.before is None:
        moved += 2 * rows * depth
    else:
        stays = 0 if what.is_resident else 2
        moved += rows * (what.before.depth + depth * (stays + what.before.residual_bytes))
    if what.is_resident:
        moved += rows * what.afters[-1].columns * what.afters[-1].output_bytes
    else:
        moved += sum(
            rows * each.columns * (each.output_bytes + each.residual_bytes)
            for each in what.afters or what.products
        )
    bound = max(matrix, moved / per_cycle, vector)
    # A block's first rows, and their norms, have nothing beside which they could be computed.
    start = tiles.rows * (depth * costs.layer_norm + costs.root_divide) / lanes
    start += (2 * tiles.rows * depth + depth * tiles.columns) / per_cycle
    if what.before is not None:
        start += what.before.columns * what.before.depth * what.before.weight_bytes / per_cycle
    start += 4 * target.dram.latency_cycles
    if blocks == 1 and tiles.block <= tiles.rows:
        bound_all = matrix + vector + moved / per_cycle
    else:
        bound_all = bound
    steps = blocks * math.ceil(tiles.block / tiles.rows)
    turns = sum(math.ceil(each.columns / tiles.columns) for each in what.members) * steps
    cycles = bound_all + blocks * start + turns * (target.vector.latency_cycles + 8)
    return Candidate(tiles, bound, moved, price(target, cycles, moved))
