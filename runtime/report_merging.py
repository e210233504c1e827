"""Adding up reports of runs that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from girih.runtime.executable import HostOperation
from girih.runtime.memory import RowCounts
from girih.runtime.report import (
    ENERGY_CAUSES,
    ENGINES,
    Events,
    LayerReport,
    Report,
    bound_of,
)


def merge(reports: Sequence[Report]) -> Report:
    """See `Report.merge`."""
    if not reports:
        raise ValueError("found no reports to merge")
    if len(reports) == 1:
        return reports[0]
    first = reports[0]
    layers: list[LayerReport] = []
    rows: dict[tuple[str, str], int] = {}
    hosts: dict[tuple[str, str, str], HostOperation] = {}
    events: list[Events] = []
    offset = 0
    for report in reports:
        numbers: list[int] = []
        for layer in report.layers:
            moved = replace(
                layer,
                start_cycle=layer.start_cycle + offset,
                end_cycle=layer.end_cycle + offset,
            )
            key = (layer.name, layer.operation)
            if key in rows:
                layers[rows[key]] = _add(layers[rows[key]], moved, first.macs_per_cycle)
            else:
                rows[key] = len(layers)
                layers.append(moved)
            numbers.append(rows[key])
        for operation in report.host_operations:
            hosts.setdefault((operation.name, operation.location, operation.reason), operation)
        if report.timeline is not None:
            events.append(_move(report.timeline, numbers, offset))
        offset += report.cycles
    return replace(
        first,
        cycles=offset,
        layers=tuple(layers),
        host_operations=tuple(hosts.values()),
        calls=sum(report.calls for report in reports),
        timeline=_concatenate(events) if len(events) == len(reports) else None,
    )


def _add(a: LayerReport, b: LayerReport, macs_per_cycle: int) -> LayerReport:
    cycles, macs = a.cycles + b.cycles, a.macs + b.macs
    busy = {engine: a.busy[engine] + b.busy[engine] for engine in ENGINES}
    return LayerReport(
        name=a.name,
        operation=a.operation,
        cycles=cycles,
        start_cycle=min(a.start_cycle, b.start_cycle),
        end_cycle=max(a.end_cycle, b.end_cycle),
        busy=busy,
        macs=macs,
        compulsory_bytes=a.compulsory_bytes + b.compulsory_bytes,
        traffic_bound_bytes=a.traffic_bound_bytes + b.traffic_bound_bytes,
        dram_read_bytes=a.dram_read_bytes + b.dram_read_bytes,
        dram_write_bytes=a.dram_write_bytes + b.dram_write_bytes,
        scratchpad_bytes=a.scratchpad_bytes + b.scratchpad_bytes,
        accumulator_bytes=a.accumulator_bytes + b.accumulator_bytes,
        vector_operations=a.vector_operations + b.vector_operations,
        energy={cause: a.energy[cause] + b.energy[cause] for cause in ENERGY_CAUSES},
        energy_joules=a.energy_joules + b.energy_joules,
        utilization=min(1.0, macs / (cycles * macs_per_cycle)) if cycles else 0.0,
        roofline_cycles=a.roofline_cycles + b.roofline_cycles,
        bound=bound_of(busy, cycles),
        rows=RowCounts.sum((a.rows, b.rows)),
    )


def _move(events: Events, numbers: Sequence[int], offset: int) -> Events:
    return Events(
        engine=events.engine,
        opcode=events.opcode,
        layer=np.asarray(numbers, np.int64)[events.layer],
        start=events.start + np.uint64(offset),
        end=events.end + np.uint64(offset),
    )


def _concatenate(events: Sequence[Events]) -> Events:
    return Events(
        engine=np.concatenate([one.engine for one in events]),
        opcode=np.concatenate([one.opcode for one in events]),
        layer=np.concatenate([one.layer for one in events]),
        start=np.concatenate([one.start for one in events]),
        end=np.concatenate([one.end for one in events]),
    )
