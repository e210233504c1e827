"""A report as one HTML file that needs nothing else: no network, no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from girih.runtime.report import BOUNDS, LayerReport, Report
from girih.runtime.report_charts import BOUND_COLOURS, energy_bar, layer_bars, roofline
from girih.runtime.report_host import host_groups, share_text, short_source, summary
from girih.runtime.report_table import bytes_text, energy_text, time_text

_STYLE = """
:root { --ink: #22272e; --quiet: #6a737d; --paper: #fbfaf7; --card: #ffffff; --line: #dcdcd6; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --quiet: #9aa4ae; --paper: #17191c; --card: #212529; --line: #3a4046; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1020px; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; border-top: 1px solid var(--line);
  padding-top: 1.5rem; } h3 { margin: 2rem 0 .5rem; }
.quiet, .legend { color: var(--quiet); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .7rem 1rem; }
.card b { display: block; font-size: 1.45rem; line-height: 1.3; }
.card span { color: var(--quiet); font-size: .85rem; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .quiet { fill: var(--quiet); } svg .hover { fill: transparent; }
svg g:hover .hover { fill: var(--line); fill-opacity: .5; }
svg .tick { stroke: var(--ink); stroke-width: 2; } svg .grid { stroke: var(--line); }
svg .roof { fill: none; stroke: var(--ink); stroke-width: 2; }
.swatch { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px;
  margin: 0 .3rem 0 .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th { cursor: pointer; text-align: right; border-bottom: 2px solid var(--line); padding: .3rem .5rem;
  white-space: nowrap; user-select: none; }
td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th.text, td.text { text-align: left; } td.wrap { white-space: normal; text-align: left; }
"""

# Numbers sort by their exact value in data-value, the longest first; a second click turns it round.
_SCRIPT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const down = head.dataset.order !== "down";
  head.dataset.order = down ? "down" : "up";
  const key = row => {
    const cell = row.cells[column], value = cell.dataset.value;
    return value === undefined ? cell.textContent : Number(value);
  };
  const compare = (a, b) => typeof a === "number" ? b - a : a.localeCompare(b);
  [...body.rows].sort((a, b) => compare(key(a), key(b)) * (down ? 1 : -1))
    .forEach(row => body.append(row));
});
"""

_BOUND_MEANING = {
    "matrix": "the matrix engine",
    "dram": "the DRAM bus",
    "vector": "the vector engine",
    "latency": "latency (no engine is busy half of the time)",
}


def html(reports: Report | Mapping[str, Report], title: str = "girih report") -> str:
    """The page of one report, or of several by name."""
    named = {"": reports} if isinstance(reports, Report) else reports
    sections = "".join(_section(name, report) for name, report in named.items())
    return page(title, f"{_machine(named)}{sections}")


def page(title: str, body: str) -> str:
    """HTML text as a page in the report's style; tables sort when their heads are clicked."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _machine(named: Mapping[str, Report]) -> str:
    lines = {
        f"Target {report.target}: {report.macs_per_cycle:,} MACs per cycle at "
        f"{report.frequency_hz / 1e9:g} GHz, DRAM {report.dram_bytes_per_cycle:g} bytes per cycle"
        for report in named.values()
    }
    return "".join(f'<p class="quiet">{escape(line)}</p>' for line in sorted(lines))


def _section(name: str, report: Report) -> str:
    head = f"<h2>{escape(name)}</h2>" if name else ""
    return (
        f"{head}{_cards(report)}"
        f"<h3>Cycles by layer</h3>{_legend()}{layer_bars(report)}"
        f"<h3>Roofline</h3>{roofline(report)}"
        f"<h3>Energy</h3>{energy_bar(report)}"
        f"<h3>Layers</h3>{_layers(report)}"
        f"<h3>On the host</h3>{_host(report)}"
    )


def _cards(report: Report) -> str:
    moved = report.dram_read_bytes + report.dram_write_bytes
    ratio = report.cycles / report.roofline_cycles if report.roofline_cycles else 0.0
    seconds = report.seconds or 1.0
    cards = [
        (time_text(report.seconds), f"{report.cycles:,} cycles"),
        (energy_text(report.energy_joules), f"{report.energy_joules / seconds:.2f} W on average"),
        (f"{report.utilization:.1%}", f"of the array used, {report.macs / 1e9:.3f} GMAC"),
        (bytes_text(moved), f"DRAM, {bytes_text(report.dram_write_bytes)} of it written"),
        (f"{ratio:.2f} x", "the roofline: all products or all transfers, what takes longer"),
    ]
    if report.traffic_bound_bytes:
        traffic = moved / report.traffic_bound_bytes
        cards.append((f"{traffic:.2f} x", "the least DRAM traffic, summed over the layers"))
    if report.rows.activates:
        opened = f"of DRAM bursts hit an open page, {report.rows.activates:,} were opened"
        cards.append((f"{report.rows.hit_rate:.1%}", opened))
    if report.calls > 1:
        cards.append((f"{report.calls}", "calls added up"))
    inner = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(note)}</span></div>'
        for value, note in cards
    )
    return f'<div class="cards">{inner}</div>'


def _legend() -> str:
    swatches = "".join(
        f'<span class="swatch" style="background:{BOUND_COLOURS[bound]}"></span>'
        f"{_BOUND_MEANING[bound]}"
        for bound in BOUNDS
    )
    return f'<p class="legend">Bound by {swatches}. The tick is the roofline.</p>'


def _layers(report: Report) -> str:
    heads = (
        "layer", "operation", "cycles", "array used", "x roofline", "matrix busy", "vector busy",
        "DMA busy", "MMACs", "read", "written", "x bound", "energy", "bound by",
    )  # fmt: skip
    return _table(heads, [_row(layer) for layer in report.layers])


def _row(layer: LayerReport) -> str:
    ratio = layer.cycles / layer.roofline_cycles if layer.roofline_cycles else 0.0
    transfers = layer.busy["dma_in"] + layer.busy["dma_out"]
    moved, least = layer.dram_read_bytes + layer.dram_write_bytes, layer.traffic_bound_bytes
    traffic = moved / least if least else 0.0
    colour = BOUND_COLOURS[layer.bound]
    return (
        f'<tr><td class="text">{escape(layer.name)}</td>'
        f'<td class="text">{escape(layer.operation.removeprefix("mfm."))}</td>'
        + _number(layer.cycles, f"{layer.cycles:,}")
        + _number(layer.utilization, f"{layer.utilization:.1%}")
        + _number(ratio, f"{ratio:.2f}" if ratio else "")
        + _number(layer.busy["matrix"], f"{layer.busy['matrix']:,}")
        + _number(layer.busy["vector"], f"{layer.busy['vector']:,}")
        + _number(transfers, f"{transfers:,}")
        + _number(layer.macs, f"{layer.macs / 1e6:,.1f}")
        + _number(layer.dram_read_bytes, bytes_text(layer.dram_read_bytes))
        + _number(layer.dram_write_bytes, bytes_text(layer.dram_write_bytes))
        + _number(traffic, f"{traffic:.2f}" if traffic else "")
        + _number(layer.energy_joules, energy_text(layer.energy_joules))
        + f'<td class="text" style="color:{colour}">{layer.bound}</td></tr>'
    )


def _number(value: float, text: str) -> str:
    return f'<td data-value="{value!r}">{escape(text)}</td>'


def _host(report: Report) -> str:
    if not report.host_operations:
        return "<p>Every operation runs on the accelerator.</p>"
    rows = [
        f'<tr><td class="wrap">{escape(row.name)}</td><td class="wrap">{escape(row.where)}</td>'
        f'<td class="wrap">{escape(group.reason)}</td>'
        + _number(row.macs_share, share_text(row.macs_share))
        + _number(row.bytes_share, share_text(row.bytes_share))
        + f'<td class="wrap">{escape(short_source(row.source))}</td></tr>'
        for group in host_groups(report.host_operations)
        for row in group.rows
    ]
    heads = ("operation", "layer", "why", "share of MACs", "share of bytes", "source")
    return f"<p>{escape(summary(report.host_operations))}</p>{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    text = {"layer", "operation", "bound", "why", "source"}
    head = "".join(
        f"<th{' class=text' if name in text else ''}>{escape(name)}</th>" for name in heads
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
