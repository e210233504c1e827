"""What a choice of tiles costs integer_attention, and the cheapest choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from girih.passes.tiling.cost import (
    ISSUE_CYCLES,
    Cheapest,
    candidates,
    lines,
    matmul_cycles,
)
from girih.runtime.target import Target


@dataclass(frozen=True)
class Attention:
    """Sizes of the attention of one key/value head, which `group` query heads share."""

    queries: int
    keys: int
    depth: int
    value_depth: int
    masked: bool
    group: int = 1


@dataclass(frozen=True)
class AttentionTiles:
    """Queries and keys per tile, and what stays on chip.

    resident: keys and values, for a whole head. one_pass: all scores of a query tile (else QK is
    computed twice).
    """

    queries: int
    keys: int
    resident: bool
    one_pass: bool


def attention_bytes(what: Attention, tiles: AttentionTiles) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes that a choice of tiles takes."""
    blocks = math.ceil(what.keys / tiles.keys)
    held = blocks if tiles.resident else min(2, blocks)
    total = held * (lines(tiles.keys * what.depth) + lines(tiles.keys * what.value_depth))
    total += 2 * (lines(tiles.queries * what.depth) + lines(tiles.queries * what.value_depth))
    total += (blocks if tiles.one_pass else 1) * lines(2 * tiles.queries * tiles.keys)
    total += 2 * lines(tiles.queries * tiles.keys)
    total += 2 * (lines(2 * tiles.queries) + lines(4 * tiles.queries))
    if what.masked:
        total += 2 * lines(tiles.queries * tiles.keys)
    sums = 2 * lines(4 * tiles.queries * tiles.keys) + 2 * lines(
        4 * tiles.queries * what.value_depth
    )
    return total, sums


def attention_cycles(what: Attention, tiles: AttentionTiles, target: Target) -> tuple[float, int]:
    """(estimated cycles, DRAM bytes) of one key/value head under a choice of tiles."""
    blocks = math.ceil(what.keys / tiles.keys)
    passes = 1 if tiles.one_pass else 2
    # Tiles of all query heads that share the keys.
    query_tiles = math.ceil(what.queries / tiles.queries) * what.group
    score = matmul_cycles(target, tiles.queries, tiles.keys, what.depth, "weight")
    mix = matmul_cycles(target, tiles.queries, what.value_depth, tiles.keys, "weight")
    matrix = query_tiles * blocks * (score * passes + mix)
    costs, lanes = target.vector.costs, target.vector.lanes
    element = tiles.queries * tiles.keys / lanes
    vector = (
        query_tiles
        * blocks
        * (
            element * (passes * costs.scores + costs.exponential)
            + (passes + 1) * target.vector.latency_cycles
        )
    )
    vector += query_tiles * tiles.queries * what.value_depth / lanes * costs.normalize
    kept = 1 if tiles.resident else query_tiles
    keys = what.keys * what.depth * (passes if not tiles.resident else 1)
    moved = kept * (keys + what.keys * what.value_depth)
    moved += what.group * what.queries * (what.depth + what.value_depth)
    if what.masked:
        moved += passes * query_tiles * tiles.queries * what.keys
    transfers = kept * blocks * (1 + passes) + 2 * query_tiles
    bus = moved / target.dram_bytes_per_cycle + transfers * target.dram.overhead_cycles
    # The array waits for the last scores of a query tile and the first exponentials after them.
    stall = query_tiles * (
        element * (costs.scores + costs.exponential)
        + 2 * target.vector.latency_cycles
        + 2 * (target.array.rows + target.array.columns)
    )
    instructions = query_tiles * blocks * (3 * passes + 2)
    exposed = 0.0
    if tiles.resident:
        # The last block of values is in use until the end, and the next head's first query is
        # loaded after the block that takes its place.
        exposed = tiles.keys * what.value_depth / target.dram_bytes_per_cycle
        exposed += 2 * target.dram.latency_cycles
    return max(matrix + stall, bus, vector) + exposed + instructions * ISSUE_CYCLES, moved


@lru_cache(maxsize=1024)
def choose_attention(what: Attention, target: Target) -> AttentionTiles | None:
    """As `choose_product` does, for attention."""
    found = Cheapest[AttentionTiles]()
    for queries in candidates(what.queries, target.array.rows):
        for keys in candidates(what.keys, target.array.columns):
            for resident in (True, False):
                for one_pass in (True, False):
                    tiles = AttentionTiles(queries, keys, resident, one_pass)
                    scratchpad, accumulator = attention_bytes(what, tiles)
                    if scratchpad > target.scratchpad_bytes:
                        continue
                    if accumulator > target.accumulator_bytes:
                        continue
                    found.add(tiles, *attention_cycles(what, tiles, target))
    return found.choice()
