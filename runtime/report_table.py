"""A report as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from girih.runtime.report import LayerReport, Report

COLOURS = {"matrix": "green", "dram": "yellow", "vector": "cyan", "latency": "magenta"}

_COLUMNS = ("cycles", "busy", "roofline", "DRAM", "energy", "bound")
_WIDTHS = {"cycles": 11, "busy": 6, "bound": 7}


def table(report: Report, limit: int | None = None, title: str | None = None) -> Table:
    """One row per layer in order, and a last row for the sum; see `Report.table`.

    busy: share of the array's multiply-accumulates that were used. roofline: cycles as a multiple
    of the roofline's. DRAM: bytes read and written.
    """
    shown = list(report.layers)
    if limit is not None and limit < len(shown):
        longest = sorted(shown, key=lambda layer: layer.cycles, reverse=True)[:limit]
        kept = {id(layer) for layer in longest}
        shown = [layer for layer in shown if id(layer) in kept]
    made = Table(
        title=f"{title or f'Cost on target {report.target}'}: {time_text(report.seconds)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=rows_text(report) or None,
        caption_justify="left",
    )
    made.add_column("layer", overflow="fold")
    for column in _COLUMNS:
        # What is widest, written out: in a narrow terminal only the names are folded.
        made.add_column(column, justify="right", no_wrap=True, min_width=_WIDTHS.get(column, 8))
    for layer in shown:
        made.add_row(*_row(layer))
    left_out = len(report.layers) - len(shown)
    if left_out:
        rest = report.cycles - sum(layer.cycles for layer in shown)
        made.add_row(f"{left_out} more", f"{rest:,}")
    made.add_section()
    made.add_row(
        "all" if report.calls == 1 else f"all {report.calls} calls", f"{report.cycles:,}",
        f"{report.utilization:.1%}", _ratio(report.cycles, report.roofline_cycles),
        bytes_text(report.dram_read_bytes + report.dram_write_bytes),
        energy_text(report.energy_joules), "", style="bold",
    )  # fmt: skip
    return made


def rows_text(report: Report) -> str:
    """What the DRAM's pages cost, in a line; nothing for a target without pages."""
    rows = report.rows
    if not rows.activates:
        return ""
    cycles = max(report.cycles, 1)
    return (
        f"DRAM pages: {rows.hit_rate:.2%} of bursts hit, {rows.activates:,} opened "
        f"({rows.conflicts:,} after closing another); the bus waited "
        f"{rows.stall_cycles / cycles:.2%} of the cycles for pages, "
        f"transfers {rows.refresh_cycles / cycles:.2%} for refresh"
    )


def bytes_text(count: float) -> str:
    """A number of bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def time_text(seconds: float) -> str:
    """A time for people."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{seconds / scale:.3f} {unit}"
    return f"{seconds / 1e-6:.1f} µs"


def energy_text(joules: float) -> str:
    """An energy for people."""
    for scale, unit in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")):
        if joules >= scale:
            return f"{joules / scale:.2f} {unit}"
    return f"{joules / 1e-12:.0f} pJ"


def _row(layer: LayerReport) -> tuple[str | Text, ...]:
    return (
        layer.name or layer.operation,
        f"{layer.cycles:,}",
        f"{layer.utilization:.1%}",
        _ratio(layer.cycles, layer.roofline_cycles),
        bytes_text(layer.dram_read_bytes + layer.dram_write_bytes),
        energy_text(layer.energy_joules),
        Text(layer.bound, style=COLOURS[layer.bound]),
    )


def _ratio(cycles: int, roofline: float) -> str:
    return f"{cycles / roofline:.2f} x" if roofline else ""
