"""Target: the one description of an accelerator that every part of girih reads.

A target file is YAML; see `runtime/targets/edge.yaml` for one with comments. Units are part of the
field names (`_bytes`, `_cycles`, `_hz`); energy entries carry their unit and their source.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from girih.runtime.energy import Energy, Node, PerByte
from girih.runtime.errors import TargetError
from girih.runtime.memory import Dram, Memory

PRESET_FOLDER = Path(__file__).parent / "targets"

# "edge@45nm@ddr4-3200": a target, then what is changed about it.
_VARIANT = re.compile(r"(?P<base>.+?)(?P<changes>(?:@[A-Za-z0-9-]+)*)")

_Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sparsity(_Model):
    """Structure that an array has a use for: `keep` of each `of` neighbouring weights are not 0."""

    keep: int = Field(ge=1, le=63)
    of: int = Field(ge=2, le=64)

    @model_validator(mode="after")
    def _some_go(self) -> Sparsity:
        if self.keep >= self.of:
            raise ValueError(f"expected keep below of, found {self.keep} of {self.of}")
        return self


class Array(_Model):
    """The systolic array of int8 multipliers: `rows` along depth, `columns` along outputs.

    sparsity: which weights recipes may prune to for this array (pass `sparsify`); none where it
    has no use for zeros. The simulator counts every weight, whatever its value.
    """

    rows: int = Field(ge=1, le=4096)
    columns: int = Field(ge=1, le=4096)
    sparsity: Sparsity | None = None


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
    fold: int = Field(default=2, ge=1, le=1024)
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

    @model_validator(mode="after")
    def _check(self) -> Target:
        pages = self.dram.page_parameters(self.frequency_hz)
        if (pages is None) != (self.energy.activate is None):
            raise ValueError(
                "expected dram.pages and energy.activate both or neither, found "
                f"{'energy.activate' if pages is None else 'dram.pages'} alone"
            )
        if pages is not None:
            taken = pages["refresh_cycles"] + pages["reopen_cycles"]
            interval = pages["refresh_interval_cycles"]
            if interval <= taken + 1:
                raise ValueError(
                    "expected a refresh to leave time for transfers, found that it and the "
                    f"activate after it take {taken} of every {interval} cycles"
                )
        return self

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Names of the targets that come with girih, sorted."""
        return tuple(sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml")))

    @classmethod
    def load(cls, target: str | Path | Target) -> Target:
        """The target of a preset name, of a path to a YAML file, or the target itself.

        A string that holds a path separator or ends in .yaml or .yml is a path. `@` and the name of
        a technology node or a memory may follow, several times: ``edge@45nm@ddr4-3200``
        (`at_node`, `with_memory`).

        Raises:
            TargetError: no such preset, file, node or memory, not YAML, or a value that can not be;
                the message names the field, what was found and what is possible.
        """
        if isinstance(target, Target):
            return target
        if isinstance(target, str):
            match = _VARIANT.fullmatch(target)
            if match is not None and match["changes"]:
                changed = cls.load(match["base"])
                for name in match["changes"][1:].split("@"):
                    changed = changed._changed(name)
                return changed
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
        _expand_node(cast("dict[str, Any]", values), where)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise TargetError(f"{where}: {_explain(error)}") from error

    def to_yaml(self) -> str:
        """YAML text that `from_yaml` reads back to an equal target."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)

    def at_node(self, name: str) -> Target:
        """The same machine in another technology: on-chip energies change, nothing else.

        Raises:
            TargetError: no such node.
        """
        entries = Node.load(name).entries(self.scratchpad_bytes, self.accumulator_bytes)
        energy = {**self.energy.model_dump(), **entries, "node": name}
        return Target.model_validate({**self.model_dump(), "energy": energy})

    def with_memory(self, name: str) -> Target:
        """The same machine beside another DRAM, with its pages and its energies.

        Latency, overhead and capacity stay.

        Raises:
            TargetError: no such memory.
        """
        memory = Memory.load(name).model_dump()
        values = self.model_dump()
        values["energy"].update(memory.pop("energy"))
        values["dram"].update(memory)
        return Target.model_validate(values)

    def _changed(self, name: str) -> Target:
        if name in Node.names():
            changed = self.at_node(name)
        elif name in Memory.names():
            changed = self.with_memory(name)
        else:
            raise TargetError(
                f"no technology node or memory is named {name!r}; the nodes are "
                f"{', '.join(Node.names())}, the memories {', '.join(Memory.names())}"
            )
        return changed.model_copy(update={"name": f"{self.name}@{name}"})

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


def _expand_node(values: dict[str, Any], where: str) -> None:
    """Fills in what `energy` leaves to its node; what can not be is for validation to name."""
    energy = values.get("energy")
    scratchpad, accumulator = values.get("scratchpad_bytes"), values.get("accumulator_bytes")
    if not (isinstance(scratchpad, int) and isinstance(accumulator, int)):
        return
    if not isinstance(energy, dict) or min(scratchpad, accumulator) < 1:
        return
    given = cast("dict[str, Any]", energy)
    if given.get("node") is None:
        return
    try:
        entries = Node.load(given["node"]).entries(scratchpad, accumulator)
    except TargetError as error:
        raise TargetError(f"{where}: energy.node: {error}") from error
    values["energy"] = {**entries, **given}


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
