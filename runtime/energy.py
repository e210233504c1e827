"""The energy table of a target, and the tables of technology nodes that it can come from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from girih.runtime.errors import TargetError

NODE_FOLDER = Path(__file__).parent / "nodes"

_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EnergyEntry(_Model):
    """One number of the energy table, with its unit and where it comes from."""

    value: float = Field(ge=0, allow_inf_nan=False)
    unit: str
    source: _Text


class PerMac(EnergyEntry):
    """Energy of one int8 multiplication and int32 accumulation."""

    unit: Literal["pJ/MAC"]  # pyright: ignore[reportIncompatibleVariableOverride]


class PerByte(EnergyEntry):
    """Energy of reading or writing one byte."""

    unit: Literal["pJ/byte"]  # pyright: ignore[reportIncompatibleVariableOverride]


class PerActivate(EnergyEntry):
    """Energy of opening a DRAM page and closing it again."""

    unit: Literal["pJ/activate"]  # pyright: ignore[reportIncompatibleVariableOverride]


class PerOperation(EnergyEntry):
    """Energy of one 32-bit vector operation."""

    unit: Literal["pJ/operation"]  # pyright: ignore[reportIncompatibleVariableOverride]


class Power(EnergyEntry):
    """Power that is drawn whatever the machine does."""

    unit: Literal["W"]  # pyright: ignore[reportIncompatibleVariableOverride]


class Energy(_Model):
    """The energy table: what each counted event costs.

    In a target file, what is not given comes from the table of `node`. `activate` goes with
    `dram.pages`: `dram` is then the energy of a byte of an open page.
    """

    node: str | None = None
    mac: PerMac
    scratchpad: PerByte
    accumulator: PerByte
    dram: PerByte
    activate: PerActivate | None = None
    vector_operation: PerOperation
    static: Power


class Sram(_Model):
    """Energy of an access of on-chip memories, by their size in bytes."""

    source: _Text
    access_bytes: int = Field(ge=1)
    picojoules: dict[int, float] = Field(min_length=1)

    def per_byte(self, size: int) -> PerByte:
        """The entry of a memory: listed, interpolated, or that of the nearest size listed."""
        sizes = sorted(self.picojoules)
        nearest = min(max(size, sizes[0]), sizes[-1])
        if nearest in self.picojoules:
            access = self.picojoules[nearest]
            how = f"{access:g} pJ for {self.access_bytes} bytes of a memory of {_size(nearest)}"
            if size > nearest:
                how += "; taken as banks of that size, the wires between them not counted"
            elif size < nearest:
                how += ", the smallest listed"
            how += f"; divided by {self.access_bytes} bytes"
        else:
            below = max(each for each in sizes if each < size)
            above = min(each for each in sizes if each > size)
            low, high = self.picojoules[below], self.picojoules[above]
            access = low * (high / low) ** (math.log(size / below) / math.log(above / below))
            how = (
                f"an access of {self.access_bytes} bytes takes {low:g} pJ at {_size(below)} and "
                f"{high:g} pJ at {_size(above)}; interpolated to {_size(size)} on log-log axes "
                f"({access:.3g} pJ) and divided by {self.access_bytes} bytes"
            )
        value = float(f"{access / self.access_bytes:.3g}")
        return PerByte(value=value, unit="pJ/byte", source=f"{self.source}: {how}")


class Node(_Model):
    """What a technology node says about what is on the chip."""

    mac: PerMac
    vector_operation: PerOperation
    sram: Sram
    static: Power

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The nodes that come with girih, sorted."""
        return tuple(sorted(path.stem for path in NODE_FOLDER.glob("*.yaml")))

    @classmethod
    def load(cls, name: str) -> Node:
        """The table of a node.

        Raises:
            TargetError: no such node.
        """
        if name not in cls.names():
            raise TargetError(
                f"no technology node is named {name!r}; there are {', '.join(cls.names())}"
            )
        return cls.model_validate(
            yaml.safe_load((NODE_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        )

    def entries(self, scratchpad_bytes: int, accumulator_bytes: int) -> dict[str, Any]:
        """The entries of an energy table for on-chip memories of these sizes, as plain values."""
        entries: dict[str, EnergyEntry] = {
            "mac": self.mac,
            "scratchpad": self.sram.per_byte(scratchpad_bytes),
            "accumulator": self.sram.per_byte(accumulator_bytes),
            "vector_operation": self.vector_operation,
            "static": self.static,
        }
        return {name: entry.model_dump() for name, entry in entries.items()}


def _size(count: int) -> str:
    for unit, scale in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count % scale == 0:
            return f"{count // scale} {unit}"
    return f"{count} bytes"
