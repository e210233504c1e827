"""Programs, loops and buffers: what surrounds instructions."""

from collections.abc import Iterator
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import ext

from girih.dialects.npu.base import LOOP_DEPTH, Operation, space

ROLES = ("parameter", "state", "argument", "result", "intermediate")


class ProgramOp(Operation, name="program", traits=[ir.NoTerminatorTrait]):
    """The machine code of one accelerator segment.

    `layers` names the report's rows in order: dictionaries with name, operation, macs and
    compulsory_bytes.
    """

    sym_name: ir.StringAttr
    layers: ir.ArrayAttr
    body: ext.Region


class LoopOp(Operation, name="loop", traits=[ir.NoTerminatorTrait]):
    """Its body `count` times. The sequencer's loops nest up to 4 deep."""

    count: ir.IntegerAttr
    body: ext.Region

    def check(self) -> Iterator[str]:
        if self.count.value < 1:
            yield f"runs {self.count.value} times, expected at least once"
        depth, parent = 1, self.operation.parent
        while parent is not None and parent.name == self.OPERATION_NAME:
            depth, parent = depth + 1, parent.parent
        if depth > LOOP_DEPTH:
            yield f"is nested {depth} deep, expected at most {LOOP_DEPTH}"


class DramOp(Operation, name="dram"):
    """A tensor in external memory.

    `role` and `index` say what it is to the program: a parameter or state by `tensor`'s name, an
    argument or result by index, or an intermediate. `allocate` sets `address` (-1 before).
    """

    tensor: ir.StringAttr
    role: ir.StringAttr
    index: ir.IntegerAttr
    address: ir.IntegerAttr
    buffer: ext.Result[Any]

    def check(self) -> Iterator[str]:
        if self.role.value not in ROLES:
            yield f"has role {self.role.value!r}, expected one of {', '.join(ROLES)}"
        if space(self.buffer) != "dram":
            yield f"is in {space(self.buffer)}, expected dram"


class AllocateOp(Operation, name="allocate"):
    """An on-chip buffer of one layer: slots x rows x columns. `allocate` sets `address`.

    A layer may have phases: the attribute `life`, first and last of them, lets buffers that never
    hold anything at the same time take one place. Without it a buffer lives as long as its layer.
    """

    address: ir.IntegerAttr
    layer: ir.IntegerAttr
    buffer: ext.Result[Any]

    def check(self) -> Iterator[str]:
        if space(self.buffer) not in ("scratchpad", "accumulator"):
            yield f"is in {space(self.buffer)}, expected scratchpad or accumulator"
