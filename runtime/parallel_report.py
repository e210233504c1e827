"""What a run on several accelerators cost: each device, the link between them, and all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from girih.runtime.report import LayerReport, Report
from girih.runtime.target import Devices, Target


@dataclass(frozen=True)
class ParallelReport(Report):
    """The cost of a run on several devices; as a `Report`, that of all of them together.

    devices: one report each, without the link; of a pipeline, for one microbatch. link_bytes: what
    all devices send. link_cycles: of the time in all, what is spent on the link alone.
    link_joules: energy of those bytes. bubble_share: the share of the devices' time in which a
    pipeline leaves them idle, or tensor parallelism has them wait for the link.
    """

    parallel: str = "tensor"
    microbatches: int = 1
    devices: tuple[Report, ...] = ()
    link_bytes: int = 0
    link_cycles: int = 0
    link_joules: float = 0.0
    bubble_share: float = 0.0

    @property
    def roofline_cycles(self) -> float:
        """The least cycles that the arrays and DRAMs allow, whatever the link does."""
        bounds = [device.roofline_cycles for device in self.devices]
        if self.parallel == "tensor":
            return max(bounds)
        return sum(bounds) + (self.microbatches - 1) * max(bounds)

    @property
    def energy(self) -> dict[str, float]:
        """Joules by cause, the link among them."""
        return {**super().energy, "link": self.link_joules}

    @property
    def energy_joules(self) -> float:
        """Energy in all."""
        return super().energy_joules + self.link_joules

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain values, with those of each device."""
        return {
            **super().to_dict(),
            "parallel": self.parallel,
            "microbatches": self.microbatches,
            "link_bytes": self.link_bytes,
            "link_cycles": self.link_cycles,
            "link_joules": self.link_joules,
            "bubble_share": self.bubble_share,
            "devices": [device.to_dict() for device in self.devices],
        }


def all_reduce_bytes(size: int, devices: int) -> int:
    """Bytes that each device sends in a ring all-reduce of `size` bytes: ``2 (p - 1) / p`` of them.

    Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations in
    MPICH", section 4.5: a reduce-scatter and an all-gather of p - 1 steps each.
    """
    return 2 * (devices - 1) * -(-size // devices)


def all_gather_bytes(size: int, devices: int) -> int:
    """Bytes that each device sends in a ring all-gather of `size` bytes in all (the same)."""
    return (devices - 1) * -(-size // devices)


def tensor_parallel(
    target: Target, report: Report, reduced: Sequence[int], gathered: Sequence[int]
) -> ParallelReport:
    """The report of devices that all do what `report` says, and exchange results.

    Args:
        target: with `devices`.
        report: of one device, for its share of each layer.
        reduced: bytes of each all-reduce.
        gathered: bytes of each all-gather.

    An all-reduce starts when the device is done with what it sums, and nothing overlaps with it.
    """
    devices = _devices(target)
    count = devices.count
    sent = [all_reduce_bytes(size, count) for size in reduced]
    sent += [all_gather_bytes(size, count) for size in gathered]
    steps = (2 * len(reduced) + len(gathered)) * (count - 1)
    waiting = steps * devices.link.latency_cycles + sum(_on_link(target, each) for each in sent)
    cycles = report.cycles + waiting
    return ParallelReport(
        **_in_all(target, [report] * count, [_times(each, count) for each in report.layers]),
        cycles=cycles,
        parallel="tensor",
        devices=(report,) * count,
        link_bytes=count * sum(sent),
        link_cycles=waiting,
        link_joules=count * sum(sent) * devices.link.energy.value * 1e-12,
        bubble_share=waiting / cycles if cycles else 0.0,
    )


def pipeline_parallel(
    target: Target, stages: Sequence[Report], sent: Sequence[int]
) -> ParallelReport:
    """The report of devices that pass microbatches on, each with layers of its own.

    Args:
        target: with `devices`.
        stages: of each device, for one microbatch.
        sent: bytes that each device but the last sends to the next for one microbatch.

    The first microbatch passes all stages and transfers, the others follow at the pace of the
    slowest (GPipe, Huang et al. 2019, section 2.3); transfers overlap with the next microbatch.
    """
    devices = _devices(target)
    count, batches = len(stages), devices.microbatches
    transfers = [devices.link.latency_cycles + _on_link(target, size) for size in sent]
    times = [stage.cycles for stage in stages]
    cycles = sum(times) + sum(transfers) + (batches - 1) * max(*times, *transfers, 0)
    layers = [_times(layer, batches) for stage in stages for layer in stage.layers]
    link_bytes = batches * sum(sent)
    return ParallelReport(
        **_in_all(target, stages, layers),
        cycles=cycles,
        parallel="pipeline",
        microbatches=batches,
        devices=tuple(stages),
        link_bytes=link_bytes,
        link_cycles=sum(transfers),
        link_joules=link_bytes * devices.link.energy.value * 1e-12,
        bubble_share=1 - batches * sum(times) / (count * cycles) if cycles else 0.0,
    )


def _devices(target: Target) -> Devices:
    assert target.devices is not None
    return target.devices


def _on_link(target: Target, size: int) -> int:
    """Cycles that bytes take on the link, without its latency."""
    return -(-size * target.frequency_hz // _devices(target).link.bandwidth_bytes_per_second)


def _in_all(
    target: Target, reports: Sequence[Report], layers: Sequence[LayerReport]
) -> dict[str, Any]:
    hosts = {
        (each.name, each.location, each.reason): each
        for report in reports
        for each in report.host_operations
    }
    count = len(reports)
    return {
        "target": target.name,
        "frequency_hz": target.frequency_hz,
        "macs_per_cycle": count * target.macs_per_cycle,
        "dram_bytes_per_cycle": count * target.dram_bytes_per_cycle,
        "layers": tuple(layers),
        "host_operations": tuple(hosts.values()),
    }


def _times(layer: LayerReport, count: int) -> LayerReport:
    """A layer that is done `count` times, on as many devices or for as many microbatches.

    Its cycles, and when it begins and ends, stay those of one.
    """
    return replace(
        layer,
        macs=count * layer.macs,
        compulsory_bytes=count * layer.compulsory_bytes,
        traffic_bound_bytes=count * layer.traffic_bound_bytes,
        dram_read_bytes=count * layer.dram_read_bytes,
        dram_write_bytes=count * layer.dram_write_bytes,
        scratchpad_bytes=count * layer.scratchpad_bytes,
        accumulator_bytes=count * layer.accumulator_bytes,
        vector_operations=count * layer.vector_operations,
        energy={cause: count * value for cause, value in layer.energy.items()},
        energy_joules=count * layer.energy_joules,
    )
