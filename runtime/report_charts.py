"""The charts of the HTML report, as SVG text that needs no script and no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from girih.runtime.report import LayerReport, Report
from girih.runtime.report_table import bytes_text, energy_text

BOUND_COLOURS = {
    "matrix": "#2f9e6e",
    "dram": "#e09f3e",
    "vector": "#3d7ec4",
    "latency": "#a65bb5",
}
ENERGY_COLOURS = {
    "mac": "#2f9e6e",
    "vector": "#3d7ec4",
    "scratchpad": "#8ac6d0",
    "accumulator": "#6c8ead",
    "dram": "#e09f3e",
    "activate": "#b5651d",
    "static": "#9a9a9a",
}
ENERGY_NAMES = {
    "mac": "multiply-accumulates",
    "vector": "vector operations",
    "scratchpad": "scratchpad",
    "accumulator": "accumulator",
    "dram": "DRAM",
    "activate": "opening DRAM pages",
    "static": "static",
}

_WIDTH = 960


def layer_bars(report: Report) -> str:
    """A bar per layer, its length the cycles, its colour the bound, a tick at the roofline."""
    shown = [layer for layer in report.layers if layer.cycles or layer.macs]
    longest = max((max(layer.cycles, layer.roofline_cycles) for layer in shown), default=1)
    left, right, row = 300, 90, 20
    scale = (_WIDTH - left - right) / max(longest, 1)
    parts: list[str] = []
    for number, layer in enumerate(shown):
        y = number * row
        end = left + layer.cycles * scale
        parts.append(
            f"<g><title>{escape(_tooltip(layer))}</title>"
            f'<rect x="0" y="{y}" width="{_WIDTH}" height="{row}" class="hover"/>'
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">'
            f"{escape(_shorten(layer.name or layer.operation, 44))}</text>"
            f'<rect x="{left}" y="{y + 4}" width="{max(layer.cycles * scale, 1):.1f}" '
            f'height="{row - 8}" rx="2" fill="{BOUND_COLOURS[layer.bound]}"/>'
            f'<text x="{end + 6:.1f}" y="{y + 14}" class="quiet">{layer.cycles:,}</text>'
        )
        if layer.roofline_cycles:
            x = left + layer.roofline_cycles * scale
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 2}" y2="{y + row - 2}" class="tick"/>'
            )
        parts.append("</g>")
    return _svg(len(shown) * row, parts)


def roofline(report: Report) -> str:
    """Layers by MACs per byte moved and MACs per cycle, below the roof of array and bandwidth."""
    layers = [layer for layer in report.layers if layer.macs and layer.cycles]
    points = [(_intensity(layer), layer.macs / layer.cycles, layer) for layer in layers]
    peak, bandwidth = report.macs_per_cycle, report.dram_bytes_per_cycle
    ridge = peak / bandwidth
    xs = [x for x, _, _ in points] + [ridge / 8, ridge * 8]
    ys = [y for _, y, _ in points] + [peak / 32, peak * 1.5]
    x0, x1 = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
    y0, y1 = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    left, top, width, height = 70, 10, _WIDTH - 90, 300

    def at_x(value: float) -> float:
        return left + width * (math.log10(value) - x0) / (x1 - x0)

    def at_y(value: float) -> float:
        clipped = max(value, 10.0**y0)
        return top + height * (1 - (math.log10(clipped) - y0) / (y1 - y0))

    parts: list[str] = []
    for power in range(x0, x1 + 1):
        x = at_x(10.0**power)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}" class="grid"/>'
            f'<text x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{10.0**power:g}</text>'
        )
    for power in range(y0, y1 + 1):
        y = at_y(10.0**power)
        parts.append(
            f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
    start = max(10.0**x0, 10.0**y0 / bandwidth)
    roof = [(start, start * bandwidth), (ridge, peak), (10.0**x1, peak)]
    line = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in roof)
    parts.append(f'<polyline points="{line}" class="roof"/>')
    whole = max(report.cycles, 1)
    for x, y, layer in points:
        radius = 4 + 14 * math.sqrt(layer.cycles / whole)
        parts.append(
            f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="{radius:.1f}" '
            f'fill="{BOUND_COLOURS[layer.bound]}" fill-opacity="0.65">'
            f"<title>{escape(_tooltip(layer))}</title></circle>"
        )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 36}" text-anchor="middle" class="quiet">'
        "MACs per DRAM byte moved; the area of a dot is its share of the cycles</text>"
        f'<text x="{left + 6}" y="{top + 14}" class="quiet">MACs per cycle</text>'
        f'<text x="{left + width - 6}" y="{at_y(peak) - 6:.1f}" text-anchor="end" class="quiet">'
        f"array: {peak:,} MACs per cycle</text>"
    )
    return _svg(top + height + 42, parts)


def energy_bar(report: Report) -> str:
    """One bar, split by what the energy is spent on, and its legend."""
    energy = {cause: joules for cause, joules in report.energy.items() if joules > 0}
    whole = sum(energy.values())
    if not whole:
        return "<p>No energy was counted.</p>"
    parts: list[str] = []
    x, legend = 0.0, 0
    for cause, joules in sorted(energy.items(), key=lambda item: item[1], reverse=True):
        width = _WIDTH * joules / whole
        text = f"{ENERGY_NAMES[cause]}: {energy_text(joules)} ({joules / whole:.1%})"
        parts.append(
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="34" '
            f'fill="{ENERGY_COLOURS[cause]}"><title>{escape(text)}</title></rect>'
        )
        column, line = legend % 3, legend // 3
        parts.append(
            f'<rect x="{column * 320}" y="{48 + line * 22}" width="12" height="12" rx="2" '
            f'fill="{ENERGY_COLOURS[cause]}"/>'
            f'<text x="{column * 320 + 18}" y="{58 + line * 22}">{escape(text)}</text>'
        )
        x, legend = x + width, legend + 1
    return _svg(48 + 22 * math.ceil(legend / 3), parts)


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(parts)}</svg>"
    )


def _tooltip(layer: LayerReport) -> str:
    ratio = ""
    if layer.roofline_cycles:
        ratio = f", {layer.cycles / layer.roofline_cycles:.2f} x roofline"
    moved = layer.dram_read_bytes + layer.dram_write_bytes
    return (
        f"{layer.name} ({layer.operation})\n"
        f"{layer.cycles:,} cycles{ratio}, bound by {layer.bound}\n"
        f"array used {layer.utilization:.1%}, {bytes_text(moved)} moved, "
        f"{energy_text(layer.energy_joules)}"
    )


def _intensity(layer: LayerReport) -> float:
    moved = layer.dram_read_bytes + layer.dram_write_bytes
    return layer.macs / max(moved, 1)


def _shorten(name: str, length: int) -> str:
    """The end of a name tells layers apart."""
    return name if len(name) <= length else "…" + name[-(length - 1) :]
