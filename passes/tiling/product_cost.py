"""What tiles of a product cost, for many choices at once: the timing formulas of docs/isa.md."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product as combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.passes.tiling.cost import LINE, Product, candidates, lines
from girih.passes.tiling.search import Candidate, price
from girih.runtime.target import Target

Numbers = NDArray[np.float64]

SHORTLIST = 64
"""Choices, by their guesses, that the search sees."""


@dataclass(frozen=True)
class ProductTiles:
    """How a product is cut.

    rows x columns is a tile of sums in the accumulator. The outer operand ("weights" or "inputs")
    is held on chip `block` columns (of weights) or rows (of inputs) at a time, in one or two slots,
    over its whole depth, while the other one streams past it. `depth` is that of what streams;
    less than the whole where even a tile of it is too large, and then the block is one tile. With
    `is_held` false both operands stream in parts of the depth. `stationary` is the array's
    dataflow.
    """

    rows: int
    columns: int
    depth: int
    outer: str
    block: int
    stationary: str = "weight"
    outer_slots: int = 2
    is_held: bool = True

    def slots(self, what: Product) -> tuple[int, int]:
        """Ring slots of input and weight buffers: two where there is a next tile to prefetch."""
        split = self.depth < what.depth
        several_rows = self.rows < what.rows or what.batches > 1 or split
        several_columns = self.columns < what.columns or what.batches > 1 or split
        if not self.is_held:
            inputs = 2 if what.window is None else 1 + several_rows
            return min(inputs, what.buffers), what.buffers
        total = what.columns if self.outer == "weights" else what.rows
        held = min(1 + (self.block < total or what.batches > 1), self.outer_slots, what.buffers)
        if self.outer == "weights":
            return min(1 + several_rows, what.buffers), held
        return held, min(1 + several_columns, what.buffers)

    def output_slots(self, what: Product) -> int:
        """Ring slots of sums and outputs: two where there is more than one tile."""
        several = self.rows * self.columns < what.rows * what.columns or what.batches > 1
        return min(1 + several, what.buffers)


def product_bytes(what: Product, tiles: ProductTiles) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes that a choice of tiles takes."""
    table = _Table.of(what, [tiles])
    scratchpad, accumulator = table.bytes()
    return int(scratchpad[0]), int(accumulator[0])


def smallest_product_bytes(what: Product) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes of the smallest tiles, for the error message."""
    return product_bytes(what, ProductTiles(1, 1, 1, "weights", 1, is_held=False))


def product_candidates(what: Product, target: Target) -> list[Candidate[ProductTiles]]:
    """What is worth trying on a target: the choices of lowest guesses among those that fit."""
    table = _Table.of(what, list(_choices(what, target)))
    scratchpad, accumulator = table.bytes()
    fits = (scratchpad <= target.scratchpad_bytes) & (accumulator <= target.accumulator_bytes)
    cycles, moved, guess = table.cost(target)
    order = np.flatnonzero(fits)
    order = order[np.argsort(guess[order], kind="stable")][:SHORTLIST]
    return [
        Candidate(
            table.tiles[index], float(cycles[index]), float(moved[index]), float(guess[index])
        )
        for index in order
    ]


def _choices(what: Product, target: Target) -> list[ProductTiles]:
    side, across = target.array.rows, target.array.columns
    found: list[ProductTiles] = []
    most = target.accumulator_bytes // 4
    unit = what.depth_unit(side)
    depths = list(candidates(what.depth, unit, min(what.depth, unit)))
    rows_choices = list(candidates(what.rows, side))
    column_choices = list(candidates(what.columns, across))
    for rows, columns in combinations(rows_choices, column_choices):
        if rows * columns > most:
            continue
        for stationary in ("weight", "output"):
            if stationary == "output" and rows > 2 * side:
                continue
            for depth in depths:
                split = depth < what.depth
                for outer, tile, total in (
                    ("weights", columns, what.columns),
                    ("inputs", rows, what.rows),
                ):
                    blocks = [tile] if split else _blocks(total, tile)
                    several = what.batches > 1
                    for block in blocks:
                        for slots in (2, 1) if block < total or several else (1,):
                            found.append(
                                ProductTiles(rows, columns, depth, outer, block, stationary, slots)
                            )
                if split:
                    found.append(
                        ProductTiles(rows, columns, depth, "weights", columns, stationary, 2, False)
                    )
    return found


def _blocks(total: int, tile: int) -> list[int]:
    """Whole tiles that divide a dimension evenly."""
    tiles = -(-total // tile)
    counts = {-(-tiles // parts) for parts in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48)}
    return sorted({min(total, count * tile) for count in counts} | {min(tile, total)})


@dataclass(frozen=True)
class _Table:
    """Many choices as columns of numbers."""

    what: Product
    tiles: list[ProductTiles]
    rows: Numbers
    columns: Numbers
    depth: Numbers
    block: Numbers
    weights_outer: NDArray[np.bool_]
    held: NDArray[np.bool_]
    output: NDArray[np.bool_]
    slots: NDArray[np.int64]
    """(choices, 4): of inputs, weights, results; and of the outer operand as asked for."""

    @classmethod
    def of(cls, what: Product, tiles: list[ProductTiles]) -> _Table:
        def column(values: Any) -> Any:
            return np.array(list(values), np.float64)

        return cls(
            what,
            tiles,
            column(t.rows for t in tiles),
            column(t.columns for t in tiles),
            column(t.depth for t in tiles),
            column(t.block for t in tiles),
            np.array([t.outer == "weights" for t in tiles], np.bool_),
            np.array([t.is_held for t in tiles], np.bool_),
            np.array([t.stationary == "output" for t in tiles], np.bool_),
            np.array(
                [(*t.slots(what), t.output_slots(what), t.outer_slots) for t in tiles], np.int64
            ).reshape(-1, 4),
        )

    @property
    def split(self) -> NDArray[np.bool_]:
        return self.depth < self.what.depth

    def _input_bytes(self, rows: Numbers, depth: Any) -> Numbers:
        if self.what.window is None:
            return rows * depth
        stride, kernel, channels = self.what.window
        return ((rows - 1) * stride + kernel) * channels

    def _held_sizes(self) -> tuple[Numbers, Numbers]:
        """Rows of inputs and columns of weights in a slot."""
        by_weights = self.held & self.weights_outer
        by_inputs = self.held & ~self.weights_outer
        rows = np.where(by_inputs, self.block, self.rows)
        return rows, np.where(by_weights, self.block, self.columns)

    def bytes(self) -> tuple[Numbers, Numbers]:
        """(scratchpad, accumulator) bytes of each choice."""
        what = self.what
        rows, columns = self._held_sizes()
        by_weights = self.held & self.weights_outer
        by_inputs = self.held & ~self.weights_outer
        input_depth = np.where(by_inputs, what.depth, self.depth)
        weight_depth = np.where(by_weights, what.depth, self.depth)
        size = self.rows * self.columns
        total = self.slots[:, 0] * _lines(self._input_bytes(rows, input_depth))
        total = total + self.slots[:, 1] * _lines(columns * weight_depth)
        parameters = np.minimum(1 + (columns < what.columns), what.buffers)
        total += parameters * _lines(12 * columns)
        total += self.slots[:, 2] * _lines(size * what.output_bytes)
        if what.activation:
            total += lines(4096) + parameters * _lines(8 * columns) + _lines(2 * size)
        if what.residual_bytes:
            total += _lines(2 * size) + self.slots[:, 2] * _lines(size * what.residual_bytes)
        return total, self.slots[:, 2] * _lines(4 * size)

    def _matrix(self, target: Target) -> Numbers:
        """Cycles that the array is busy, exactly."""
        what, side, across = self.what, target.array.rows, target.array.columns

        def total(whole: int, tile: Numbers, cost: Any) -> Numbers:
            rest = whole % tile
            return whole // tile * cost(tile) + np.where(rest > 0, cost(rest), 0)

        def passes(size: Any, unit: int) -> Any:
            return np.ceil(size / unit)

        def at_least(size: Any) -> Any:
            return np.maximum(size, side)

        columns = total(what.columns, self.columns, lambda n: passes(n, across))
        weight = total(what.depth, self.depth, lambda n: passes(n, side))
        weight = weight * total(what.rows, self.rows, at_least)
        output = total(what.rows, self.rows, lambda n: passes(n, side))
        output = output * total(what.depth, self.depth, at_least)
        return what.batches * columns * np.where(self.output, output, weight)

    def cost(self, target: Target) -> tuple[Numbers, Numbers, Numbers]:
        """(cycles at least, DRAM bytes, guessed price) of each choice."""
        what, batches = self.what, self.what.batches
        row_tiles, column_tiles = (
            np.ceil(what.rows / self.rows),
            np.ceil(what.columns / self.columns),
        )
        parts = np.ceil(what.depth / self.depth)
        blocks = np.ceil(np.where(self.weights_outer, what.columns, what.rows) / self.block)
        by_weights = self.held & self.weights_outer
        by_inputs = self.held & ~self.weights_outer
        input_passes = np.where(by_weights, blocks, np.where(by_inputs, 1, column_tiles))
        weight_passes = np.where(by_inputs, blocks, np.where(by_weights, 1, row_tiles))
        inputs = np.full_like(self.rows, float(what.rows * what.depth))
        if what.window is not None:
            # Tiles of rows share what their windows overlap.
            stride, kernel, channels = what.window
            count = np.where(by_inputs, blocks, row_tiles)
            inputs = (what.rows * stride + count * (kernel - stride)) * float(channels)
        weights = what.columns * what.depth * what.weight_bytes
        outputs = float(what.rows * what.columns * (what.output_bytes + what.residual_bytes))
        moved = inputs * input_passes + weights * weight_passes + outputs
        moved += 12 * what.columns * what.has_parameters
        # Rows that are part of a tensor's rows fill whole bursts by themselves.
        waste = _bursts(self.depth, target) / self.depth
        wide = self.columns * what.output_bytes
        spread = np.where(self.columns < what.columns, _bursts(wide, target) / wide, 1.0)
        on_bus = inputs * input_passes * np.where(self.split & ~by_inputs, waste, 1.0)
        on_bus += weights * weight_passes * np.where(self.split & ~by_weights, waste, 1.0)
        on_bus += outputs * spread
        input_loads = np.where(by_weights, blocks * row_tiles * parts, blocks)
        weight_loads = np.where(by_inputs, blocks * column_tiles * parts, blocks)
        both = row_tiles * column_tiles * parts
        streamed = np.where(by_weights, input_loads, np.where(by_inputs, weight_loads, both))
        input_loads = np.where(self.held, input_loads, both)
        weight_loads = np.where(self.held, weight_loads, both)
        stores = row_tiles * column_tiles * (1 + (what.residual_bytes > 0))
        transfers = input_loads + weight_loads + stores
        per_cycle = target.dram_bytes_per_cycle
        bus = on_bus / per_cycle + transfers * target.dram.overhead_cycles
        costs = target.vector.costs
        per_element = costs.rescale + (costs.gelu if what.activation else 0)
        per_element += costs.add if what.residual_bytes else 0
        vector = np.full_like(bus, float(what.rows * what.columns)) / target.vector.lanes
        vector = vector * per_element
        matrix = self._matrix(target)
        bound = np.maximum(matrix, batches * np.maximum(bus, vector))
        # A ring of two slots: the next load but one waits for the product of this one.
        turn = target.dram.latency_cycles + target.array.rows + target.array.columns
        turns = batches * streamed
        step = matrix / turns + target.dram.overhead_cycles + turn
        step += (inputs * input_passes + weights * weight_passes) / streamed / per_cycle
        chained = turns * step / 2
        first = self._input_bytes(self.rows, self.depth)
        first += self.columns * self.depth * what.weight_bytes
        size = self.rows * self.columns
        ramp = (first + size * what.output_bytes) / per_cycle + 2 * target.dram.latency_cycles
        ramp = ramp + size / target.vector.lanes * per_element
        held = np.where(self.weights_outer, weights, inputs) / blocks
        reloads = np.where(self.held & (self.slots[:, 3] == 1), blocks * batches - 1, 0)
        ramp = ramp + reloads * (held / per_cycle + turn)
        instructions = batches * (both + 2 * row_tiles * column_tiles + transfers)
        if what.buffers == 1:
            chained = 2 * chained
        cycles = np.maximum(bound, chained) + ramp + 2 * instructions
        if what.window is not None:
            # Rows that only pad are not loaded.
            moved -= 2 * what.window[1] * what.window[2] * input_passes
        moved = moved * batches
        return bound, moved, price_of(target, cycles, moved)


def price_of(target: Target, cycles: Numbers, moved: Numbers) -> Numbers:
    """`price` of many."""
    return cycles + price(target, 0, 1) * moved


def _lines(size: Numbers) -> Numbers:
    return np.ceil(size / LINE) * LINE


def _bursts(size: Numbers, target: Target) -> Numbers:
    burst = target.dram.burst_bytes
    return np.ceil(size / burst) * burst
