"""Target: the one description of an accelerator that every part of girih reads.

A target file is YAML; see `runtime/targets/edge.yaml` for one with comments. Units are part of the
field names (`_bytes`, `_cycles`, `_hz`); energy entries carry their unit and their source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from girih.runtime.errors import TargetError

PRESET_FOLDER = Path(__file__).parent / "targets"

_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Array(_Model):
    """The systolic array of int8 multipliers: `rows` along depth, `columns` along outputs."""

    rows: int = Field(ge=1, le=4096)
    columns: int = Field(ge=1, le=4096)


class VectorCosts(_Model):
    """Cycles that a lane needs per element, by opcode (docs/isa.md, Timing)."""

    fill: int = Field(default=1, ge=1, le=1024)
    rescale: int = Field(default=1, ge=1, le=1024)
    add: int = Field(default=2, ge=1, le=1024)
    gelu: int = Field(default=2, ge=1, le=1024)
    layer_norm: int = Field(default=4, ge=1, le=1024)
    scores: int = Field(default=1, ge=1, le=1024)
    exponential: int = Field(default=2, ge=1, le=1024)
    normalize: int = Field(default=1, ge=1, le=1024)
    multiply: int = Field(default=2, ge=1, le=1024)
    root_divide: int = Field(
        default=32,
        ge=0,
        le=65536,
        description="Cycles per row for the square root and division of layer_norm and normalize",
    )


class Vector(_Model):
    """The vector engine: lanes of one 32-bit multiplier each."""

    lanes: int = Field(ge=1, le=65536)
    latency_cycles: int = Field(ge=0, le=1_000_000)
    costs: VectorCosts = VectorCosts()


class Dram(_Model):
    """The external memory and the bus to it, shared by both transfer engines."""

    bandwidth_bytes_per_second: int = Field(ge=1_000_000, le=10**14)
    latency_cycles: int = Field(ge=0, le=1_000_000)
    burst_bytes: int = Field(ge=1, le=65536)
    overhead_cycles: int = Field(ge=0, le=1_000_000)
    capacity_bytes: int = Field(ge=4096, le=2**44)


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


class PerOperation(EnergyEntry):
    """Energy of one 32-bit vector operation."""

    unit: Literal["pJ/operation"]  # pyright: ignore[reportIncompatibleVariableOverride]


class Power(EnergyEntry):
    """Power that is drawn whatever the machine does."""

    unit: Literal["W"]  # pyright: ignore[reportIncompatibleVariableOverride]


class Energy(_Model):
    """The energy table: what each counted event costs."""

    mac: PerMac
    scratchpad: PerByte
    accumulator: PerByte
    dram: PerByte
    vector_operation: PerOperation
    static: Power


class Link(_Model):
    """What joins the accelerators: each sends and receives at this bandwidth at the same time."""

    bandwidth_bytes_per_second: int = Field(ge=1_000_000, le=10**14)
    latency_cycles: int = Field(ge=0, le=1_000_000)
    energy: PerByte


class Devices(_Model):
    """Several accelerators of the same kind, for `girih.estimate`.

    parallel: ``tensor`` splits each layer among all (Shoeybi et al. 2019), ``pipeline`` gives each
    some of the layers. microbatches: how many inputs follow each other through a pipeline.
    """

    count: int = Field(ge=1, le=1024)
    parallel: Literal["tensor", "pipeline"] = "tensor"
    microbatches: int = Field(default=1, ge=1, le=1_000_000)
    link: Link

    @model_validator(mode="after")
    def _microbatches_flow(self) -> Devices:
        if self.parallel == "tensor" and self.microbatches != 1:
            raise ValueError("microbatches are for parallel: pipeline")
        return self


class Target(BaseModel, frozen=True, extra="forbid"):
    """An accelerator: sizes, speeds and energies. Immutable, hashable by content, from one file."""

    name: _Text
    description: str = ""
    frequency_hz: int = Field(ge=1_000_000, le=100_000_000_000)
    array: Array
    scratchpad_bytes: int = Field(ge=256, le=2**31, multiple_of=16)
    accumulator_bytes: int = Field(ge=256, le=2**31, multiple_of=16)
    vector: Vector
    dram: Dram
    energy: Energy
    devices: Devices | None = None

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Names of the targets that come with girih, sorted."""
        return tuple(sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml")))

    @classmethod
    def load(cls, target: str | Path | Target) -> Target:
        """The target of a preset name, of a path to a YAML file, or the target itself.

        A string that holds a path separator or ends in .yaml or .yml is a path.

        Raises:
            TargetError: no such preset or file, not YAML, or a value that can not be; the message
                names the field, what was found and what is possible.
        """
        if isinstance(target, Target):
            return target
        text = str(target)
        if isinstance(target, str) and not _is_path(text):
            path = PRESET_FOLDER / f"{text}.yaml"
            if not path.is_file():
                names = ", ".join(cls.presets())
                raise TargetError(
                    f"no target is named {text!r}; the presets are {names}, "
                    "and a path to a target file ends in .yaml"
                )
        else:
            path = Path(target)
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise TargetError(f"target file {path}: can not be read: {reason}") from error
        return cls.from_yaml(content, where=str(path))

    @classmethod
    def from_yaml(cls, content: str, where: str = "target") -> Target:
        """The target that YAML text describes; `where` names it in errors.

        Raises:
            TargetError: not YAML, or a value that can not be.
        """
        try:
            values: Any = yaml.safe_load(content)
        except (yaml.YAMLError, ValueError) as error:
            one_line = " ".join(str(error).split())
            raise TargetError(f"{where}: not valid YAML: {one_line}") from error
        if not isinstance(values, dict):
            raise TargetError(
                f"{where}: expected a mapping with fields such as `name` and `array`, "
                f"found {'nothing' if values is None else type(values).__name__}"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise TargetError(f"{where}: {_explain(error)}") from error

    def to_yaml(self) -> str:
        """YAML text that `from_yaml` reads back to an equal target."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates that the array does in a cycle when every cell is busy."""
        return self.array.rows * self.array.columns

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Bytes that the DRAM bus moves in a cycle."""
        return self.dram.bandwidth_bytes_per_second / self.frequency_hz

    def seconds(self, cycles: int) -> float:
        """The time of a number of cycles."""
        return cycles / self.frequency_hz


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))


def _explain(error: ValidationError) -> str:
    parts: list[str] = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "the file"
        if item["type"] == "missing":
            parts.append(f"{field}: is missing")
        elif item["type"] == "extra_forbidden":
            parts.append(f"{field}: is not a field of a target")
        else:
            message = item["msg"]
            found = item.get("input")
            parts.append(f"{field}: {message[0].lower()}{message[1:]}, found {found!r}")
    return "; ".join(parts)
