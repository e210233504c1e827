"""Block transfers between external memory and the scratchpad."""

from typing import Any

from torch_mlir.dialects import ext

from girih.dialects.arithmetic import packed_columns, unpack_groups
from girih.dialects.npu.base import Array, Instruction, flag

INDEXED, UNPACK = 1, 2


class DmaInOp(Instruction, name="dma_in"):
    """Copy rows x columns bytes from DRAM to the scratchpad.

    `index` is an int32 in DRAM, read at run time: the source moves by index x immediate 0, and
    0 <= index < immediate 1 or the program is refused. With the flag UNPACK a row of the source
    is packed groups of weights (`mfm.unpack`), and columns are those of the target.
    """

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    index: ext.Operand[Any] | None = None

    ENGINE = "dma_in"
    SPACES = (("dram",), ("scratchpad",), ("dram",))
    WRITES = (1,)

    def extent(self, index: int) -> tuple[int, int]:
        rows, columns = _extent(self, index)
        is_packed = index == 0 and flag(self, UNPACK)
        return rows, packed_columns(columns) if is_packed else columns

    def reference(self, *tiles: Array) -> Array:
        return unpack_groups(tiles[0]) if flag(self, UNPACK) else tiles[0]


class DmaOutOp(Instruction, name="dma_out"):
    """Copy rows x columns bytes from the scratchpad to DRAM; an `index` moves the target."""

    source: ext.Operand[Any]
    target: ext.Operand[Any]
    index: ext.Operand[Any] | None = None

    ENGINE = "dma_out"
    SPACES = (("scratchpad",), ("dram",), ("dram",))
    WRITES = (1,)

    def extent(self, index: int) -> tuple[int, int]:
        return _extent(self, index)

    def reference(self, *tiles: Array) -> Array:
        return tiles[0]


def _extent(op: Instruction, index: int) -> tuple[int, int]:
    if index == 2:
        return 1, 4
    return op.rows.value, op.columns.value
