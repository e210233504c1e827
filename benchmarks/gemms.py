"""The matrix products of Whisper tiny: of its encoder, and of one step of its decoder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from girih.runtime.target import Target

HEADS, WIDTH, HIDDEN, HEAD = 6, 384, 1536, 64
FRAMES, PIECES, VOCABULARY, LAYERS = 1500, 448, 51864, 4


@dataclass(frozen=True)
class Gemm:
    """rows x depth by depth x columns, int8 to int8, `batches` times with operands of their own.

    `kind` is what girih compiles it from: a ``linear``, a ``matmul``, or ``attention`` (columns
    are keys, depth is the size of a head). `count` is how often the step does it.
    """

    name: str
    rows: int
    columns: int
    depth: int
    batches: int = 1
    kind: str = "linear"
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all batches."""
        return self.batches * self.rows * self.columns * self.depth

    @property
    def compulsory_bytes(self) -> int:
        """Each operand and the result, moved once."""
        operands = (self.rows + self.columns) * self.depth + self.rows * self.columns
        return self.batches * operands

    @property
    def sizes(self) -> str:
        """Text for people."""
        one = f"{self.rows} x {self.columns} x {self.depth}"
        return one if self.batches == 1 else f"{self.batches} x {one}"

    def roofline_cycles(self, target: Target) -> float:
        """What the array or the bus needs at least."""
        array = self.macs / target.macs_per_cycle
        return max(array, self.compulsory_bytes / target.dram_bytes_per_cycle)

    def systolic_cycles(self, target: Target) -> int:
        """SCALE-Sim's closed form, weight stationary: fill, stream and drain, tile after tile."""
        rows, columns = target.array.rows, target.array.columns
        tiles = math.ceil(self.depth / rows) * math.ceil(self.columns / columns)
        return self.batches * (tiles * (self.rows + 2 * rows + columns - 2) - 1)


ENCODER = (
    Gemm("convolution 1", 2 * FRAMES, WIDTH, 3 * 80),
    Gemm("convolution 2", FRAMES, WIDTH, 3 * WIDTH),
    Gemm("query, key, value, out", FRAMES, WIDTH, WIDTH, count=4 * LAYERS),
    Gemm("query x key", FRAMES, FRAMES, HEAD, HEADS, "matmul", LAYERS),
    Gemm("weights x value", FRAMES, HEAD, FRAMES, HEADS, "matmul", LAYERS),
    Gemm("fc1", FRAMES, HIDDEN, WIDTH, count=LAYERS),
    Gemm("fc2", FRAMES, WIDTH, HIDDEN, count=LAYERS),
)

DECODE = (
    # Four of the layer's own attention, query and out of its cross attention.
    Gemm("query, key, value, out", 1, WIDTH, WIDTH, count=6 * LAYERS),
    Gemm("query x key, own", 1, PIECES, HEAD, HEADS, "matmul", LAYERS),
    Gemm("weights x value, own", 1, HEAD, PIECES, HEADS, "matmul", LAYERS),
    Gemm("query x key, cross", 1, FRAMES, HEAD, HEADS, "matmul", LAYERS),
    Gemm("weights x value, cross", 1, HEAD, FRAMES, HEADS, "matmul", LAYERS),
    Gemm("fc1", 1, HIDDEN, WIDTH, count=LAYERS),
    Gemm("fc2", 1, WIDTH, HIDDEN, count=LAYERS),
    Gemm("logits", 1, VOCABULARY, WIDTH),
)

STEPS = {"encoder": ENCODER, "decode step": DECODE}

ATTENTION = Gemm("attention, fused", FRAMES, FRAMES, HEAD, HEADS, "attention")


def attention_compulsory_bytes(gemm: Gemm) -> int:
    """Queries, keys, values and the result, moved once."""
    return gemm.batches * 2 * (gemm.rows + gemm.columns) * gemm.depth


def total(gemms: Iterable[Gemm], of: dict[str, float]) -> float:
    """A step's sum of what each product of it takes, by name."""
    return sum(gemm.count * of[gemm.name] for gemm in gemms)
