"""`girih.compile(..., strict=True)`: an operation that falls back to the host is an error."""

from __future__ import annotations

from collections.abc import Mapping

from girih.runtime.errors import CompilationError
from girih.runtime.executable import Entry
from girih.runtime.report_host import HostRow, falls_back, host_groups, share_text

SHOWN = 5
"""How many operations the error lists."""


def refuse_fallback(entries: Mapping[str, Entry], quantized: bool) -> None:
    """Raise `CompilationError` listing what falls back to the host, why and from which line.

    Seams (quantize, dequantize, reshapes of what the host reads) do not count. In a float program
    everything is on the host by request: there, only operations without an mfm form count.
    """
    fallen = [
        operation
        for entry in entries.values()
        for operation in entry.host_operations
        if falls_back(operation, quantized)
    ]
    if not fallen:
        return
    # The same layer many times over is one problem: each kind and line is listed once.
    listed = [(group.reason, row) for group in host_groups(fallen) for row in group.rows]
    listed.sort(key=lambda pair: (pair[1].macs_share, pair[1].bytes_share), reverse=True)
    parts = [_describe(reason, row) for reason, row in listed[:SHOWN]]
    if len(listed) > SHOWN:
        parts.append(f"and {len(listed) - SHOWN} more kinds")
    one = len(fallen) == 1
    what = "stays on the host" if one else "stay on the host"
    if not quantized:
        what = "has no mfm form" if one else "have no mfm form"
    raise CompilationError(
        f"strict: {len(fallen)} operation{'s' * (not one)} {what}: {', '.join(parts)}; "
        "compile without strict to run them on the host"
    )


def _describe(reason: str, row: HostRow) -> str:
    times = f"{len(row.locations)} x " if len(row.locations) > 1 else ""
    where = row.source or next(iter(row.locations), "") or "an unknown line"
    why = reason.removeprefix(f"{row.name} ")
    return f"{times}{row.name} at {where} ({why}; {share_text(row.macs_share)} of the MACs)"
