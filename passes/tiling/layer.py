"""What every layer's tiling needs: where tensors lie, and how to refuse a target."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from torch_mlir import ir

from girih.dialects import npu
from girih.dialects.arithmetic import GROUP, GROUP_BYTES
from girih.dialects.mfm import ParameterOp, ReshapeOp, UnpackOp
from girih.dialects.mfm.base import element, shape
from girih.dialects.npu.base import DTYPES
from girih.passes.tiling.emitter import Buffer, Emitter, Tile, View
from girih.passes.tiling.mapping import Mapping
from girih.runtime.errors import CompilationError
from girih.runtime.target import Target

STORED = {"i1": "i8", "i64": "i32"}
"""Element types that DRAM holds in another form: masks as bytes, positions as 32 bits."""


def rows_and_columns(value: ir.Value) -> tuple[int, int]:
    """A tensor as a matrix: all leading axes together, and the last."""
    sizes = shape(value)
    columns = sizes[-1] if sizes else 1
    return int(np.prod(sizes, dtype=np.int64)) // columns, columns


def root(value: ir.Value) -> ir.Value:
    """The value whose memory a value shares: reshapes move nothing, weights come unpacked."""
    while not isinstance(value.owner, ir.Block):
        if not isinstance(value.owner.opview, ReshapeOp | UnpackOp):
            break
        value = value.owner.opview.x
    return value


def is_packed(weight: ir.Value) -> bool:
    """Whether memory holds a weight in groups of 4 bits."""
    return not isinstance(weight.owner, ir.Block) and isinstance(weight.owner.opview, UnpackOp)


class LayerTiler:
    """One accelerator segment being tiled: its tensors in DRAM and its code so far."""

    def __init__(
        self,
        emitter: Emitter,
        target: Target,
        declarations: ir.InsertionPoint | None,
        mapping: Mapping,
    ) -> None:
        self.emitter = emitter
        self.target = target
        self.location = ""
        self.mapping = mapping
        self.buffers = 2
        """Ring slots of what a product streams; with one, it waits for each load."""
        self._declarations = declarations
        self._tensors: dict[ir.Value, Buffer] = {}
        self._parameters: dict[str, Buffer] = {}

    def declare(self, value: ir.Value, name: str, role: str, index: int = 0) -> Buffer:
        """Give a tensor its place in DRAM; its rows are the last axis."""
        self._tensors[root(value)] = self.declare_apart(value, name, role, index)
        return self._tensors[root(value)]

    def declare_apart(self, value: ir.Value, name: str, role: str, index: int) -> Buffer:
        """A place in DRAM for a tensor that is made elsewhere, and must be copied there."""
        sizes = list(shape(value)) or [1]
        stored = STORED.get(element(value), element(value))
        kind = ir.MemRefType.get(
            sizes, ir.Type.parse(stored), memory_space=ir.StringAttr.get("dram")
        )
        assert self._declarations is not None
        with self._declarations:
            op = npu.DramOp(
                tensor=ir.StringAttr.get(name),
                role=ir.StringAttr.get(role),
                index=self.emitter.integer(index),
                address=self.emitter.integer(-1),
                buffer=kind,
            )
        return Buffer(op.buffer, sizes[-1] * DTYPES[stored].itemsize)

    def alias(self, value: ir.Value, other: ir.Value) -> None:
        """Let a value live where another one does (a cache that is updated in place)."""
        self._tensors[root(value)] = self._tensors[root(other)]

    def is_placed(self, value: ir.Value) -> bool:
        """Whether a tensor has its place already, as weights always have."""
        owner = root(value).owner
        is_weight = not isinstance(owner, ir.Block) and isinstance(owner.opview, ParameterOp)
        return is_weight or root(value) in self._tensors

    def dram(self, value: Any) -> Buffer:
        """Where a tensor lies; a weight is declared at its first mention."""
        value = root(value)
        if value in self._tensors:
            return self._tensors[value]
        owner = value.owner
        if not isinstance(owner, ir.Block) and isinstance(owner.opview, ParameterOp):
            name = owner.opview.parameter.value
            if name not in self._parameters:
                self._parameters[name] = self.declare(value, name, "parameter")
            self._tensors[value] = self._parameters[name]
            return self._tensors[value]
        return self.declare(value, f"t{len(self._tensors)}", "intermediate")

    def load_weights(self, weight: ir.Value, columns: Tile, depth: Tile, target: View) -> None:
        """Load part of a weight (columns, depth); depth tiles of a packed one are whole groups."""
        place = self.dram(weight)
        first, unpacks = depth.start, is_packed(weight)
        if unpacks:
            first = first.divided(GROUP) * GROUP_BYTES
        source = place.at(columns.start * place.pitch + first, place.pitch)
        self.emitter.load(source, target, columns.size, depth.size, unpacks=unpacks)

    def same(self, first: ir.Value, second: ir.Value) -> bool:
        """Whether two values are one tensor."""
        return root(first) == root(second)

    def too_small(self, scratchpad: int, accumulator: int) -> NoReturn:
        """Refuse the target: not even the smallest tile of this layer fits."""
        target = self.target
        raise CompilationError(
            f"target {target.name!r} is too small for {self.location}: its smallest tile takes "
            f"{scratchpad} scratchpad and {accumulator} accumulator bytes, the target has "
            f"{target.scratchpad_bytes} and {target.accumulator_bytes}"
        )
