"""A report's timeline as Chrome trace JSON, which https://ui.perfetto.dev opens."""

from __future__ import annotations

import json
from typing import Any

from girih.runtime.program import Opcode
from girih.runtime.report import ENGINES, Report


def timeline_json(report: Report) -> str:
    """The timeline: a track per engine, microseconds on the time axis.

    Events are named by layer and opcode. Format: "Trace Event Format" (complete events, phase X).
    A report without a timeline gives one without events.
    """
    events: list[dict[str, Any]] = [
        {
            "ph": "M", "name": "process_name", "pid": 0, "tid": 0,
            "args": {"name": f"accelerator {report.target}"},
        }
    ]  # fmt: skip
    for number, engine in enumerate(ENGINES):
        events.append(
            {"ph": "M", "name": "thread_name", "pid": 0, "tid": number, "args": {"name": engine}}
        )
    if report.timeline is not None:
        events += _complete_events(report)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}, separators=(",", ":"))


def _complete_events(report: Report) -> list[dict[str, Any]]:
    timeline = report.timeline
    assert timeline is not None
    microseconds = 1e6 / report.frequency_hz
    opcodes = {int(opcode): opcode.name.lower() for opcode in Opcode}
    names = [layer.name or layer.operation for layer in report.layers]
    columns = zip(
        timeline.engine.tolist(),
        timeline.opcode.tolist(),
        timeline.layer.tolist(),
        timeline.start.tolist(),
        timeline.end.tolist(),
        strict=True,
    )
    return [
        {
            "ph": "X",
            "name": f"{names[layer]}: {opcodes[opcode]}",
            "cat": opcodes[opcode],
            "pid": 0,
            "tid": engine,
            "ts": round(start * microseconds, 6),
            "dur": round((end - start) * microseconds, 6),
        }
        for engine, opcode, layer, start, end in columns
    ]
