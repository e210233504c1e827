"""The `npu` dialect: one accelerator's machine code with its buffers still named.

Each instruction of docs/isa.md is an operation whose operands are buffers (memrefs in the memory
spaces "dram", "scratchpad" and "accumulator") and whose `accesses` say which part of each buffer it
touches, in bytes, per iteration of the loops around it. `reference()` is its meaning on tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import ext

Array = NDArray[Any]

SPACES = ("dram", "scratchpad", "accumulator")
LOOP_DEPTH = 4

DTYPES: dict[str, np.dtype[Any]] = {
    "i8": np.dtype(np.int8),
    "ui8": np.dtype(np.uint8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
}


class Npu(ext.Dialect, name="npu"):
    """Machine level: explicit memories, transfers, engines and waits."""


class IntegersAttribute(ir.Attribute):
    """Constraint for a field that holds a dense array of i64."""

    attr_name = "builtin.dense_array"


@dataclass(frozen=True)
class Access:
    """Part of a buffer: where its first row begins and how it moves with the loops around it.

    All in bytes but `ring` and `phase`, which count slots: iteration i_l of loop level l reads at
    ``offset + sum stride[l] i_l`` in slot ``(phase + sum ring[l] i_l) mod slots``.
    """

    offset: int = 0
    pitch: int = 0
    stride: tuple[int, ...] = ()
    ring: tuple[int, ...] = ()
    phase: int = 0

    def attribute(self) -> ir.DictAttr:
        """As MLIR prints it, zero fields left out."""
        fields: dict[str, ir.Attribute] = {}
        i64 = ir.IntegerType.get_signless(64)
        for name in ("offset", "pitch", "phase"):
            if getattr(self, name):
                fields[name] = ir.IntegerAttr.get(i64, getattr(self, name))
        for name in ("stride", "ring"):
            if any(getattr(self, name)):
                fields[name] = ir.DenseI64ArrayAttr.get(list(getattr(self, name)))
        return ir.DictAttr.get(fields)

    @classmethod
    def parse(cls, attribute: ir.DictAttr) -> "Access":
        """The access that an attribute describes."""
        fields = {item.name: item.attr for item in attribute}
        values: dict[str, Any] = {
            name: fields[name].value for name in ("offset", "pitch", "phase") if name in fields
        }
        for name in ("stride", "ring"):
            if name in fields:
                values[name] = tuple(fields[name])
        return cls(**values)


def space(buffer: ir.Value) -> str:
    """Memory space of a buffer."""
    return buffer.type.memory_space.value


def dtype(buffer: ir.Value) -> np.dtype[Any]:
    """NumPy dtype of a buffer's elements."""
    return DTYPES[str(buffer.type.element_type)]


def slots(buffer: ir.Value) -> int:
    """Ring slots of an on-chip buffer (its first dimension)."""
    return int(buffer.type.shape[0])


def slot_bytes(buffer: ir.Value) -> int:
    """Bytes of one slot of an on-chip buffer, a multiple of 64 so that slots share no line."""
    size = int(np.prod(buffer.type.shape[1:])) * dtype(buffer).itemsize
    return (size + 63) // 64 * 64


class Operation(Npu.Operation):
    """Base of all `npu` operations."""

    def check(self) -> Iterator[str]:
        """Yield a sentence, what was found and what was expected, for each broken rule."""
        yield from ()

    def verify_invariants(self) -> bool:
        """Report every broken rule at the operation's location; MLIR calls this."""
        problems = list(self.check())
        for problem in problems:
            self.location.emit_error(f"'{self.OPERATION_NAME}' {problem}")
        return not problems


class Instruction(Operation):
    """Base of the operations that engines execute.

    Fields: `rows`, `columns`, `depth` of the tile; `flags` and `immediates` as docs/isa.md has
    them; `accesses`, one per buffer; `layer`, the index of the model's operation in the report;
    `waits`, distances to the engines in order (-1: none), which `synchronize` sets.
    """

    rows: ir.IntegerAttr
    columns: ir.IntegerAttr
    depth: ir.IntegerAttr
    flags: ir.IntegerAttr
    immediates: IntegersAttribute
    accesses: ir.ArrayAttr
    layer: ir.IntegerAttr
    waits: IntegersAttribute

    # Not annotated: an annotation would make these fields of the operation.
    ENGINE = ""
    # Per operand, the memory spaces that it may lie in.
    SPACES = ()
    # Operands that the instruction writes; the others it reads.
    WRITES = ()

    def check(self) -> Iterator[str]:
        operands = list(self.operands)
        if len(self.accesses) != len(operands):
            yield f"has {len(self.accesses)} accesses for {len(operands)} buffers"
        for index, operand in enumerate(operands):
            allowed = self.SPACES[index] if index < len(self.SPACES) else SPACES
            if space(operand) not in allowed:
                yield f"operand {index} is in {space(operand)}, expected {' or '.join(allowed)}"
        if min(self.rows.value, self.columns.value) < 1:
            yield f"works on {self.rows.value} x {self.columns.value} elements"

    def reference(self, *tiles: Array) -> Array | tuple[Array, ...]:
        """New contents of the written tiles, from the tiles of all operands in order."""
        raise TypeError(f"'{self.OPERATION_NAME}' has no reference of its own")

    def reads(self, index: int) -> bool:
        """Whether an operand's old contents matter."""
        writes: Any = self.WRITES
        return index not in writes

    def extent(self, index: int) -> tuple[int, int]:
        """Rows, and bytes per row, that the instruction touches of an operand."""
        operand = list(self.operands)[index]
        return self.rows.value, self.columns.value * dtype(operand).itemsize

    def view(self, index: int) -> Access:
        """Which part of an operand the instruction touches."""
        return Access.parse(self.accesses[index])


def flag(op: Instruction, bit: int) -> bool:
    """Whether a flag of an instruction is set."""
    return bool(op.flags.value & bit)
