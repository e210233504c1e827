"""Where the rows of integer_attention's tensors lie in DRAM."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.passes.tiling.emitter import Affine, View
from girih.passes.tiling.layer import LayerTiler


@dataclass(frozen=True)
class Head:
    """A query head, and the key/value head that it reads."""

    batch: int
    own: Affine
    shared: Affine


class AttentionLayout:
    """Sizes and addresses.

    With one query (decoding), the query heads that share a key head are the rows of one product,
    so that each key moves past the array once: the attention then has `group` queries and as many
    heads as there are key heads.
    """

    def __init__(self, tiler: LayerTiler, op: mfm.IntegerAttentionOp) -> None:
        self.tiler = tiler
        self.batch, self.queries, self.heads, self.depth = shape(op.query)
        self.keys, self.shared_heads = shape(op.key)[1:3]
        self.value_depth = shape(op.value)[3]
        # One query is the last of its sequence, and sees all of it.
        self.causal = bool(op.causal.value) and self.queries > 1
        self.group = self.heads // self.shared_heads
        self.folded = self.queries == 1 and self.group > 1
        # Rows from one query to the next, and from one head to the next.
        self._query_step, self._head_step = self.heads, 1
        if self.folded:
            self._query_step, self._head_step = 1, self.group
            self.queries, self.group = self.group, 1

    def own(self, value: ir.Value, head: Head, query: Affine) -> View:
        """The rows from a query on, of the queries or the result."""
        depth = shape(value)[3]
        row = query * self._query_step + head.own * self._head_step
        row = row + head.batch * math.prod(shape(value)[1:3])
        return self.tiler.dram(value).at(row * depth, self._query_step * depth)

    def shared(self, value: ir.Value, head: Head, key: Affine) -> View:
        """The rows from a key on, of the keys or values."""
        _, length, heads, depth = shape(value)
        row = (key + head.batch * length) * heads + head.shared
        return self.tiler.dram(value).at(row * depth, heads * depth)

    def mask(self, mask: ir.Value, head: Head, query: Affine, key: Affine) -> tuple[View, bool]:
        """The rows from a query on, the columns from a key on; whether all rows are one."""
        sizes = (1,) * (4 - len(shape(mask))) + shape(mask)
        if self.folded and sizes[1] > 1:
            sizes = (sizes[0], self.shared_heads, self.queries, sizes[3])
        strides = [math.prod(sizes[axis + 1 :]) for axis in range(4)]
        steps = [stride if size > 1 else 0 for size, stride in zip(sizes, strides, strict=True)]
        origin = query * steps[2] + head.own * steps[1] + key * steps[3]
        origin = origin + head.batch * steps[0]
        return self.tiler.dram(mask).at(origin, sizes[3]), sizes[2] == 1
