"""What a run on the simulated accelerator cost: by layer, in all, and why."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from girih.runtime.executable import HostOperation, Layer
from girih.runtime.memory import RowCounts
from girih.runtime.target import Target

if TYPE_CHECKING:
    from rich.table import Table

    from girih.runtime.simulator import TagStatistics, Timeline

ENGINES: tuple[str, ...] = ("dma_in", "dma_out", "matrix", "vector")
ENERGY_CAUSES = ("mac", "vector", "scratchpad", "accumulator", "dram", "activate", "static")
BOUNDS = ("matrix", "dram", "vector", "latency")


@dataclass(frozen=True)
class LayerReport:
    """One operation of the model on the accelerator.

    Layers overlap, so `start_cycle` to `end_cycle` do too; `cycles` is the time by which the layer
    moves the end of the work so far, so that the layers' cycles sum to the whole.

    busy: cycles that each engine spent on the layer. macs: those of the model (a program may do
    some twice: that shows in time and energy). utilization: macs per cell of the array and cycle,
    at most 1. roofline_cycles: max(macs / array size, compulsory bytes / bandwidth), each input,
    weight and output moved once. traffic_bound_bytes: what no schedule of the layer moves less than
    (`traffic_bound`). bound: the busiest of the matrix engine, the DRAM bus and the
    vector engine, or ``latency`` where none of them is busy for half of the layer's cycles. rows:
    what the transfers met in the DRAM's banks, where the target has pages.
    """

    name: str
    operation: str
    cycles: int
    start_cycle: int
    end_cycle: int
    busy: Mapping[str, int]
    macs: int
    compulsory_bytes: int
    traffic_bound_bytes: int
    dram_read_bytes: int
    dram_write_bytes: int
    scratchpad_bytes: int
    accumulator_bytes: int
    vector_operations: int
    energy: Mapping[str, float]
    energy_joules: float
    utilization: float
    roofline_cycles: float
    bound: str
    rows: RowCounts = RowCounts()


@dataclass(frozen=True)
class Events:
    """Every executed instruction, one array per field, in cycles.

    engine: index into `ENGINES`. opcode: of docs/isa.md. layer: index into the report's layers.
    """

    engine: NDArray[np.uint8]
    opcode: NDArray[np.uint8]
    layer: NDArray[np.int64]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]


@dataclass(frozen=True)
class Report:
    """The cost of a run. Energy in joules; `energy` splits it by cause.

    calls: how many runs are added up here.
    """

    target: str
    frequency_hz: int
    macs_per_cycle: int
    dram_bytes_per_cycle: float
    cycles: int
    layers: tuple[LayerReport, ...]
    host_operations: tuple[HostOperation, ...] = ()
    calls: int = 1
    timeline: Events | None = field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """Simulated time."""
        return self.cycles / self.frequency_hz

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dram_read_bytes(self) -> int:
        """Bytes that programs read from external memory."""
        return sum(layer.dram_read_bytes for layer in self.layers)

    @property
    def dram_write_bytes(self) -> int:
        """Bytes that programs wrote to external memory."""
        return sum(layer.dram_write_bytes for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Multiply-accumulates done, of those that the array could do in that time: 0 to 1."""
        return self.macs / (self.cycles * self.macs_per_cycle) if self.cycles else 0.0

    @property
    def roofline_cycles(self) -> float:
        """The least cycles that this array and this DRAM allow: of both, the one that is busier.

        Not the sum over the layers: a layer's transfers may fill the time of another's products.
        """
        moved = sum(layer.compulsory_bytes for layer in self.layers)
        return max(self.macs / self.macs_per_cycle, moved / self.dram_bytes_per_cycle)

    @property
    def traffic_bound_bytes(self) -> int:
        """The fewest DRAM bytes that these on-chip memories allow, summed over the layers."""
        return sum(layer.traffic_bound_bytes for layer in self.layers)

    @property
    def rows(self) -> RowCounts:
        """Hits, misses and conflicts of the DRAM's pages; all zero on a target without pages."""
        return RowCounts.sum(layer.rows for layer in self.layers)

    @property
    def energy(self) -> dict[str, float]:
        """Joules by cause."""
        return {
            cause: sum(layer.energy.get(cause, 0.0) for layer in self.layers)
            for cause in ENERGY_CAUSES
        }

    @property
    def energy_joules(self) -> float:
        """Energy in all."""
        return sum(layer.energy_joules for layer in self.layers)

    @classmethod
    def from_statistics(
        cls,
        target: Target,
        layers: Sequence[Layer],
        cycles: int,
        tags: Iterable[TagStatistics] | Mapping[int, TagStatistics],
        timeline: Timeline | None = None,
        host_operations: Sequence[HostOperation] = (),
    ) -> Report:
        """The report of one run of a kernel: tag i of its instructions is layer i."""
        found = tags.values() if isinstance(tags, Mapping) else tags
        by_tag = {tag.tag: tag for tag in found}
        named = list(layers)
        # A tag without a layer would lose time and energy: show it under its number.
        for number in range(len(named), max(by_tag, default=-1) + 1):
            named.append(Layer(f"tag {number}", "", 0, 0))
        reports: list[LayerReport] = []
        reached = 0
        for number, layer in enumerate(named):
            tag = by_tag.get(number)
            if tag is None:
                reports.append(_idle_layer(layer, reached))
                continue
            end = max(reached, tag.end_cycle)
            reports.append(_layer(target, layer, tag, end - reached))
            reached = end
        if reports and cycles > reached:
            last = by_tag.get(len(named) - 1)
            if last is not None:
                extended = reports[-1].cycles + cycles - reached
                reports[-1] = _layer(target, named[-1], last, extended)
        return cls(
            target=target.name,
            frequency_hz=target.frequency_hz,
            macs_per_cycle=target.macs_per_cycle,
            dram_bytes_per_cycle=target.dram_bytes_per_cycle,
            cycles=cycles,
            layers=tuple(reports),
            host_operations=tuple(host_operations),
            timeline=None if timeline is None else _events(timeline),
        )

    @classmethod
    def empty(cls, target: Target, host_operations: Sequence[HostOperation] = ()) -> Report:
        """The report of a run in which the accelerator had nothing to do."""
        return cls.from_statistics(target, (), 0, (), host_operations=host_operations)

    @staticmethod
    def merge(reports: Sequence[Report]) -> Report:
        """Runs one after the other as one report; layers of the same name are added up.

        Timelines follow each other where every report has one. Raises `ValueError` for no reports.
        """
        from girih.runtime.report_merging import merge

        return merge(reports)

    def with_host_operations(self, operations: Sequence[HostOperation]) -> Report:
        """The same report with other host operations."""
        return replace(self, host_operations=tuple(operations))

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain values; the timeline is left out (see `timeline_json`)."""
        return {
            "target": self.target,
            "frequency_hz": self.frequency_hz,
            "macs_per_cycle": self.macs_per_cycle,
            "dram_bytes_per_cycle": self.dram_bytes_per_cycle,
            "calls": self.calls,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "roofline_cycles": self.roofline_cycles,
            "macs": self.macs,
            "utilization": self.utilization,
            "dram_read_bytes": self.dram_read_bytes,
            "dram_write_bytes": self.dram_write_bytes,
            "traffic_bound_bytes": self.traffic_bound_bytes,
            "rows": asdict(self.rows),
            "energy_joules": self.energy_joules,
            "energy": self.energy,
            "layers": [asdict(layer) for layer in self.layers],
            "host_operations": [asdict(operation) for operation in self.host_operations],
        }

    def to_json(self, indent: int | None = 1) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def table(self, limit: int | None = None, title: str | None = None) -> Table:
        """A rich table with one row per layer; `limit` shows only the longest ones."""
        from girih.runtime.report_table import table

        return table(self, limit, title)


@dataclass(frozen=True)
class Simulation:
    """Outputs and cost of one run on the simulated accelerator."""

    outputs: tuple[NDArray[Any], ...]
    report: Report


def bound_of(busy: Mapping[str, int], cycles: int) -> str:
    """What holds a layer up; see `LayerReport`. The transfer engines share one bus."""
    candidates = {
        "matrix": busy["matrix"],
        "dram": busy["dma_in"] + busy["dma_out"],
        "vector": busy["vector"],
    }
    busiest = max(candidates, key=lambda name: candidates[name])
    return "latency" if 2 * candidates[busiest] < cycles else busiest


def _layer(target: Target, layer: Layer, tag: TagStatistics, cycles: int) -> LayerReport:
    counts = tag.counts
    busy = dict.fromkeys(ENGINES, 0)
    for engine, value in tag.busy_cycles.items():
        busy[ENGINES[int(engine)]] = int(value)
    energy = counts.energy(target.energy, target.seconds(cycles))
    # Useful work: a product that a program computes twice costs time and energy, and is no gain.
    macs = layer.macs or counts.macs
    roofline = max(
        macs / target.macs_per_cycle, layer.compulsory_bytes / target.dram_bytes_per_cycle
    )
    return LayerReport(
        name=layer.name,
        operation=layer.operation,
        cycles=cycles,
        start_cycle=tag.start_cycle,
        end_cycle=tag.end_cycle,
        busy=busy,
        macs=macs,
        compulsory_bytes=layer.compulsory_bytes,
        traffic_bound_bytes=traffic_bound(target, layer),
        dram_read_bytes=counts.dram_read_bytes,
        dram_write_bytes=counts.dram_write_bytes,
        scratchpad_bytes=counts.scratchpad_read_bytes + counts.scratchpad_write_bytes,
        accumulator_bytes=counts.accumulator_read_bytes + counts.accumulator_write_bytes,
        vector_operations=counts.vector_operations,
        energy={cause: float(getattr(energy, cause)) for cause in ENERGY_CAUSES},
        energy_joules=energy.total,
        utilization=min(1.0, macs / (cycles * target.macs_per_cycle)) if cycles else 0.0,
        roofline_cycles=roofline,
        bound=bound_of(busy, cycles),
        rows=counts.rows,
    )


def traffic_bound(target: Target, layer: Layer) -> int:
    """DRAM bytes that no schedule of a layer can go below.

    Compulsory traffic; of products also ``2 M N K / sqrt(S) - 2 S``, S the bytes on chip (Smith,
    Lowery, Langou and van de Geijn 2019, A Tight I/O Lower Bound for Matrix Multiplication).
    Convolutions use each input several times, and integer attention N^2 d^2 / S bytes (Dao et al.
    2022), which is below compulsory where a head's d^2 fits on chip: of both, only what is
    compulsory.
    """
    kinds = set(layer.operation.removeprefix("mfm.").split(" + "))
    if not kinds & {"integer_linear", "integer_matmul"}:
        return layer.compulsory_bytes
    memory = target.scratchpad_bytes + target.accumulator_bytes
    return max(layer.compulsory_bytes, math.ceil(2 * layer.macs / memory**0.5 - 2 * memory))


def _idle_layer(layer: Layer, cycle: int) -> LayerReport:
    """A layer without instructions of its own, for example one that was fused into another."""
    zero: dict[str, int] = dict.fromkeys(ENGINES, 0)
    return LayerReport(
        layer.name, layer.operation, 0, cycle, cycle, zero, 0, 0, 0, 0, 0, 0, 0, 0,
        dict.fromkeys(ENERGY_CAUSES, 0.0), 0.0, 0.0, 0.0, "latency",
    )  # fmt: skip


def _events(timeline: Timeline) -> Events:
    return Events(
        engine=timeline.engine,
        opcode=timeline.opcode,
        layer=timeline.tag.astype(np.int64),
        start=timeline.start,
        end=timeline.end,
    )
