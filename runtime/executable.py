"""A compiled program as data: what an artifact holds and the devices run. No MLIR here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from girih.runtime.signature import Signature
from girih.runtime.target import Target

Array = NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One segment of an entry point: a function and the values that it reads and writes.

    Values are numbered; an entry's arguments are 0, 1, ... `kind` is ``npu`` or ``host``.
    """

    kind: str
    function: str
    arguments: tuple[int, ...]
    results: tuple[int, ...]


@dataclass(frozen=True)
class HostOperation:
    """An operation that does not run on the accelerator, and why.

    location: path of the module that it belongs to. source: ``file:line`` of the model's code.
    macs, bytes: its multiply-accumulates, and the bytes of its operands and results; the shares
    are of what the entry does anywhere, 0 to 1.
    """

    name: str
    location: str
    reason: str
    source: str
    macs: int = 0
    bytes: int = 0
    macs_share: float = 0.0
    bytes_share: float = 0.0


@dataclass(frozen=True)
class Entry:
    """An entry point: its door, its steps, and which values it returns."""

    name: str
    signature: Signature
    steps: tuple[Step, ...]
    returns: tuple[int, ...]
    host_operations: tuple[HostOperation, ...] = ()


@dataclass(frozen=True)
class DramTensor:
    """A tensor in the accelerator's external memory.

    role: ``parameter`` or ``state`` (by name), ``argument`` or ``result`` (by index), or
    ``intermediate``.
    """

    name: str
    role: str
    index: int
    address: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Layer:
    """One row of the report: an operation of the model on the accelerator.

    compulsory_bytes: inputs, weights and outputs, each moved once.
    """

    name: str
    operation: str
    macs: int
    compulsory_bytes: int


@dataclass(frozen=True)
class Kernel:
    """Machine code of one accelerator segment and where its tensors lie."""

    name: str
    program: bytes
    dram: tuple[DramTensor, ...]
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Executable:
    """Everything that running needs. `module` is the graph in MLIR bytecode, for `reference`."""

    entries: Mapping[str, Entry]
    parameters: Mapping[str, Array]
    vmfb: bytes
    module: bytes
    recipe: str
    target: Target
    kernels: Mapping[str, Kernel] = field(default_factory=dict[str, Kernel])
    dram_bytes: int = 0
    processor: str = ""
    """Processor that the host code was compiled for; other ones are refused."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What whoever built the program wants to find again, as plain values."""
