"""The instructions of integer_attention: a group of keys meets a tile of queries.

A step is what lies between two waits of the array: its front makes the weights of a group (product
with the keys, scores, exponential), its back puts them to use (product with the values, fold). The
front of the next step is emitted before the back of this one, so that the array multiplies while
the vector engine weighs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from girih.dialects import mfm, npu
from girih.dialects.arithmetic import SCORE_HIDDEN
from girih.dialects.mfm.base import shape
from girih.dialects.npu.matrix import B_TRANSPOSED
from girih.dialects.npu.vector import CAUSAL, MASKED
from girih.passes.tiling.attention_layout import AttentionLayout, Head
from girih.passes.tiling.emitter import Affine, Buffer, Emitter, Tile, View


@dataclass
class AttentionBuffers:
    """On-chip buffers.

    query, maximum, state: a slot for each tile of queries of a block. key, value: a slot for each
    tile of keys that is held. The others: of one step.
    """

    query: Buffer
    key: Buffer
    value: Buffer
    dots: Buffer
    scores: Buffer
    maximum: Buffer
    weights: Buffer
    sums: Buffer
    mixed: Buffer
    state: Buffer
    output: Buffer
    mask: Buffer | None


@dataclass(frozen=True)
class Step:
    """A group of keys and a tile of queries.

    rows: start among all queries, number within the block. `key_slot` and `offset` (in keys) say
    where the group lies on chip. `first` and `last`: of the groups that the queries see. `hides`:
    it has keys that some of the queries must not see.
    """

    head: Head
    rows: Tile
    number: Affine
    query_slot: Affine
    first_key: Affine
    keys: int
    key_slot: Affine
    offset: int
    first: bool
    last: bool
    hides: bool


class AttentionSteps:
    """Emits steps, each with the back of the one before it."""

    def __init__(
        self,
        emitter: Emitter,
        op: mfm.IntegerAttentionOp,
        layout: AttentionLayout,
        buffers: AttentionBuffers,
    ) -> None:
        self.emitter, self.op, self.layout, self.buffers = emitter, op, layout, buffers
        self.pending: Step | None = None

    def advance(self, step: Step) -> None:
        """Begin a step, then end the one before it."""
        self._front(step)
        if self.pending is not None:
            self._back(self.pending)
        self.pending = step

    def repeat(self, count: int, at: Callable[[Affine], Step]) -> None:
        """As many steps alike, in a loop if they are more than two."""
        self.advance(at(Affine(0)))
        if count > 2:
            with self.emitter.loop(count - 1) as iteration:
                self._front(at(iteration + 1))
                self._back(at(iteration))
            self.pending = at(Affine(count - 1))
        elif count == 2:
            self.advance(at(Affine(1)))

    def finish(self) -> None:
        """End the last step."""
        if self.pending is not None:
            self._back(self.pending)
        self.pending = None

    def load(self, head: Head, keys: Tile) -> None:
        """Bring a tile of keys and values; its number is its slot."""
        op, buffers = self.op, self.buffers
        for value, buffer in ((op.key, buffers.key), (op.value, buffers.value)):
            source = self.layout.shared(value, head, keys.start)
            self.emitter.load(source, buffer.at(slot=keys.number), keys.size, shape(value)[3])

    def nothing_seen(self, head: Head, rows: Tile, number: Affine) -> None:
        """Queries that see no key give 0."""
        self._clear(rows)
        self._normalize(head, rows, number)

    def _front(self, step: Step) -> None:
        emitter, op, buffers = self.emitter, self.op, self.buffers
        rows, keys, depth = step.rows.size, step.keys, shape(op.query)[3]
        query = buffers.query.at(slot=step.query_slot)
        maximum = buffers.maximum.at(slot=step.rows.number)
        if step.first:
            source = self.layout.own(op.query, step.head, step.rows.start)
            emitter.load(source, query, rows, depth)
            emitter.emit(npu.FillOp, [maximum], rows, 2, immediates=(SCORE_HIDDEN,))
        mask, flags = None, CAUSAL if step.hides else 0
        if buffers.mask is not None:
            mask, flags = self._load_mask(step, buffers.mask), flags | MASKED
        dots = buffers.dots.at(slot=step.number)
        key = buffers.key.at(step.offset * depth, slot=step.key_slot)
        emitter.emit(npu.MatmulOp, [query, key, dots], rows, keys, depth, B_TRANSPOSED)
        scores = buffers.scores.at()
        # Counted so that the last query sees the last key.
        first_query = step.rows.start.constant + self.layout.keys - self.layout.queries
        emitter.emit(
            npu.ScoresOp,
            [dots, scores, maximum, mask],
            rows,
            keys,
            flags=flags,
            immediates=(
                op.score_multiplier.value,
                op.score_shift.value,
                first_query if step.hides else 0,
                step.first_key.constant if step.hides else 0,
            ),
        )
        weights, sums = (buffer.at(slot=step.number) for buffer in (buffers.weights, buffers.sums))
        emitter.emit(npu.ExponentialOp, [scores, weights, maximum, sums], rows, keys)
        if step.first:
            self._clear(step.rows)

    def _back(self, step: Step) -> None:
        emitter, buffers = self.emitter, self.buffers
        rows, depth = step.rows.size, shape(self.op.value)[3]
        weights, sums, mixed = (
            buffer.at(slot=step.number) for buffer in (buffers.weights, buffers.sums, buffers.mixed)
        )
        value = buffers.value.at(step.offset * depth, slot=step.key_slot)
        emitter.emit(npu.MatmulOp, [weights, value, mixed], rows, depth, step.keys)
        state = buffers.state.at(slot=step.rows.number)
        emitter.emit(npu.FoldOp, [mixed, state, sums], rows, depth)
        if step.last:
            self._normalize(step.head, step.rows, step.query_slot)

    def _clear(self, rows: Tile) -> None:
        """Sums of no keys."""
        state = self.buffers.state.at(slot=rows.number)
        columns = shape(self.op.value)[3] + 1
        self.emitter.emit(npu.FillOp, [state], rows.size, columns, immediates=(0,))

    def _normalize(self, head: Head, rows: Tile, slot: Affine) -> None:
        op, depth = self.op, shape(self.op.value)[3]
        output, state = self.buffers.output.at(slot=slot), self.buffers.state
        self.emitter.emit(
            npu.NormalizeOp,
            [
                state.at(slot=rows.number),
                output,
                state.at(4 * depth, slot=rows.number),
            ],
            rows.size,
            depth,
            immediates=(op.output_multiplier.value, op.output_shift.value),
        )
        place = self.layout.own(op.result, head, rows.start)
        self.emitter.store(output, place, rows.size, depth)

    def _load_mask(self, step: Step, buffer: Buffer) -> View:
        source, repeats = self.layout.mask(self.op.mask, step.head, step.rows.start, step.first_key)
        rows = 1 if repeats else step.rows.size
        self.emitter.load(source, buffer.at(slot=step.number, pitch=step.keys), rows, step.keys)
        pitch = 0 if repeats and step.rows.size > 1 else step.keys
        return buffer.at(slot=step.number, pitch=pitch)
