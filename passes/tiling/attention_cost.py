"""What a choice of tiles costs integer_attention, and the cheapest choice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from girih.dialects.arithmetic import KEY_GROUP
from girih.passes.tiling.cost import bursts, lines, matmul_cycles, spans
from girih.passes.tiling.search import Candidate, price
from girih.runtime.target import Target

SHORTLIST = 32
"""Choices, by their guesses, that the search sees."""

LARGEST_RING = 255
"""Most slots of a ring: the instruction has 8 bits for them."""


@dataclass(frozen=True)
class Attention:
    """Sizes of the attention of one of `heads` key/value heads, which `group` query heads share."""

    queries: int
    keys: int
    depth: int
    value_depth: int
    masked: bool
    group: int = 1
    causal: bool = False
    heads: int = 1


@dataclass(frozen=True)
class AttentionTiles:
    """Queries per tile, keys per transfer, and what is on chip at a time.

    rows: queries of a tile; count: tiles of a block, whose sums are on chip. groups: groups of
    keys that are loaded together; held: so many times. sums: slots of the accumulator's buffers.
    """

    rows: int
    count: int
    groups: int
    held: int
    sums: int

    @property
    def query_slots(self) -> int:
        """One for each tile of a block; a single tile needs another, to be loaded meanwhile."""
        return max(self.count, 2)


SMALLEST = AttentionTiles(1, 1, 1, 1, 1)


def attention_bytes(what: Attention, tiles: AttentionTiles) -> tuple[int, int]:
    """(scratchpad, accumulator) bytes that a choice of tiles takes."""
    rows, keys = tiles.rows, min(KEY_GROUP, what.keys)
    loaded = min(tiles.groups * KEY_GROUP, what.keys)
    total = tiles.held * (lines(loaded * what.depth) + lines(loaded * what.value_depth))
    total += tiles.query_slots * lines(rows * what.depth)
    total += tiles.count * (lines(4 * rows * (what.value_depth + 1)) + lines(4 * rows))
    total += lines(2 * rows * keys) + 2 * lines(rows * keys) + 2 * lines(8 * rows)
    total += 2 * lines(rows * what.value_depth)
    if what.masked:
        total += 2 * lines(rows * keys)
    return total, tiles.sums * (lines(4 * rows * keys) + lines(4 * rows * what.value_depth))


def attention_cycles(what: Attention, tiles: AttentionTiles, target: Target) -> tuple[float, int]:
    """(estimated cycles, DRAM bytes) of one query head under a choice of tiles."""
    costs, lanes, array = target.vector.costs, target.vector.lanes, target.array
    latency, drain = target.vector.latency_cycles, array.rows + array.columns - 2
    block = min(tiles.rows * tiles.count, what.queries)
    key_tiles = math.ceil(what.keys / (tiles.groups * KEY_GROUP))
    resident = tiles.held >= key_tiles
    array_cycles = vector_cycles = 0.0
    instructions = 0
    for blocks, size in spans(what.queries, block):
        for count, rows in spans(size, tiles.rows):
            edges = math.ceil(rows * what.value_depth / lanes) * costs.normalize
            edges += math.ceil(rows * (what.value_depth + 1) / lanes) * costs.fill
            edges += math.ceil(rows * costs.root_divide / lanes)
            vector_cycles += blocks * count * edges
            instructions += blocks * count * 5
            for groups, keys in spans(what.keys, KEY_GROUP):
                steps = blocks * count * groups * _share(what)
                first = matmul_cycles(target, rows, keys, what.depth, "weight")
                second = matmul_cycles(target, rows, what.value_depth, keys, "weight")
                scores = math.ceil(rows * keys / lanes) * costs.scores
                weigh = math.ceil(rows * keys / lanes) * costs.exponential
                fold = math.ceil(rows * what.value_depth / lanes) * costs.fold
                # Where sums have one slot, a product waits until those before it are taken.
                wait = 0
                if tiles.sums == 1:
                    wait += max(drain + scores + latency - second, 0)
                    wait += max(drain + fold + latency - first, 0)
                # A product with values waits for its weights, which the next product hides.
                wait += max(drain + scores + weigh + 2 * latency - first - second, 0)
                array_cycles += steps * (first + second + wait)
                vector_cycles += steps * (scores + weigh + fold)
                instructions += math.ceil(steps * 5)
    # At the end of a block nothing hides the last fold and the first weights of the next.
    rows, keys = min(tiles.rows, block), min(KEY_GROUP, what.keys)
    exposed = 2 * (drain + latency)
    exposed += rows * keys / lanes * (costs.scores + costs.exponential)
    exposed += rows * what.value_depth / lanes * (costs.fold + costs.normalize + costs.fill)
    blocks = math.ceil(what.queries / block)
    array_cycles += blocks * exposed
    kept = 1 / what.group if resident else blocks * (_share(what) if blocks > 1 else 1)
    burst = target.dram.burst_bytes
    moved = kept * what.keys * (what.depth + what.value_depth)
    moved += what.queries * (what.depth + what.value_depth)
    bus = kept * what.keys * (bursts(what.depth, burst) + bursts(what.value_depth, burst))
    bus += what.queries * (bursts(what.depth, burst) + bursts(what.value_depth, burst))
    row_tiles = math.ceil(what.queries / tiles.rows)
    transfers = kept * 2 * key_tiles + 2 * row_tiles
    if what.masked:
        moved += what.queries * what.keys
        groups = math.ceil(what.keys / KEY_GROUP)
        bus += what.queries * groups * bursts(keys, burst)
        transfers += row_tiles * groups
    bus = bus / target.dram_bytes_per_cycle + transfers * target.dram.overhead_cycles
    cycles = max(array_cycles, bus, vector_cycles, _turns(what, tiles, target, array_cycles))
    # Nothing is loaded during the products with the last keys.
    ramp = array_cycles / (blocks * key_tiles * what.heads * what.group)
    return cycles + instructions + ramp, math.ceil(moved)


def _turns(what: Attention, tiles: AttentionTiles, target: Target, array_cycles: float) -> float:
    """Cycles until every slot of the keys has been loaded, used and released as often as needed."""
    blocks = math.ceil(what.queries / (tiles.rows * tiles.count))
    key_tiles = math.ceil(what.keys / (tiles.groups * KEY_GROUP))
    loaded = min(tiles.groups * KEY_GROUP, what.keys)
    turn = loaded * (what.depth + what.value_depth) / target.dram_bytes_per_cycle
    turn += 2 * target.dram.overhead_cycles + target.dram.latency_cycles
    used = array_cycles / (blocks * key_tiles)
    turn += used + target.array.rows + target.array.columns
    if tiles.held < key_tiles:
        return blocks * key_tiles * turn / tiles.held
    # Until the last block, of the last query head, has used them.
    turn += (blocks * what.group - 1) * key_tiles * used
    return key_tiles * turn / tiles.held / what.group


def _share(what: Attention) -> float:
    """Which part of the pairs of groups and queries a causal attention computes."""
    if not what.causal:
        return 1.0
    hidden = min(what.queries, what.keys) / 2 * what.queries / (what.queries * what.keys)
    return 1 - hidden


def _choices(what: Attention, target: Target) -> Iterator[AttentionTiles]:
    groups = math.ceil(what.keys / KEY_GROUP)
    loads = [each for each in (1, 2, 4, 8, 16) if each <= groups] or [1]
    blocks = {*range(1, 17), *(1 << power for power in range(5, 13)), what.queries}
    seen = set[tuple[int, int]]()
    for number in sorted(blocks):
        size = math.ceil(what.queries / number)
        for count in (*range(1, 17), 20, 24, 32, 48, 64):
            rows = math.ceil(size / count)
            if rows > 4 * target.array.rows * target.array.columns:
                continue
            count = math.ceil(size / rows)
            if (rows, count) in seen:
                continue
            seen.add((rows, count))
            for together in loads:
                tiles = math.ceil(groups / together)
                for held in sorted({1, 2, tiles, tiles + 1, 2 * tiles}):
                    for sums in (1, 2):
                        if held <= LARGEST_RING:
                            yield AttentionTiles(rows, count, together, held, sums)


def attention_candidates(what: Attention, target: Target) -> list[Candidate[AttentionTiles]]:
    """What is worth trying on a target: the choices of lowest guesses among those that fit."""
    least_cycles = _least_macs(what) / target.macs_per_cycle
    least_bytes = what.heads * what.group * what.queries * (what.depth + what.value_depth)
    least_bytes += what.heads * what.keys * (what.depth + what.value_depth)
    heads = what.heads * what.group
    found: list[Candidate[AttentionTiles]] = []
    for tiles in _choices(what, target):
        scratchpad, accumulator = attention_bytes(what, tiles)
        if scratchpad <= target.scratchpad_bytes and accumulator <= target.accumulator_bytes:
            cycles, moved = attention_cycles(what, tiles, target)
            guess = price(target, heads * cycles, heads * moved)
            found.append(Candidate(tiles, least_cycles, least_bytes, guess))
    return sorted(found, key=lambda each: each.guess)[:SHORTLIST]


def _least_macs(what: Attention) -> float:
    """MACs of what a causal mask leaves to see; keys beyond the queries are seen by all."""
    pairs = float(what.queries * what.keys)
    if what.causal:
        most = min(what.queries, what.keys)
        pairs -= most * (most - 1) / 2
    return what.heads * what.group * pairs * (what.depth + what.value_depth)
