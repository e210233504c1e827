"""Reports: sums, partition of the time, what bounds a layer, and the formats."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from girih.runtime.executable import HostOperation, Layer
from girih.runtime.memory import RowCounts
from girih.runtime.program import Engine, Opcode
from girih.runtime.report import Report, bound_of, traffic_bound
from girih.runtime.report_html import html
from girih.runtime.report_timeline import timeline_json
from girih.runtime.simulator import Counts, TagStatistics, Timeline
from girih.runtime.target import Target

EDGE = Target.load("edge")
HOST = HostOperation("mfm.compare", "decoder <mask>", "works on i1 & nothing else", "model.py:7")


def statistics(
    tag: int, start: int, end: int, matrix: int = 0, vector: int = 0, dma: int = 0, macs: int = 0
) -> TagStatistics:
    busy = {Engine.DMA_IN: dma, Engine.DMA_OUT: 0, Engine.MATRIX: matrix, Engine.VECTOR: vector}
    counts = Counts(
        instructions=1,
        macs=macs,
        vector_operations=64 * vector,
        dram_read_bytes=20 * dma,
        dram_write_bytes=5 * dma,
        dram_bus_bytes=26 * dma,
        scratchpad_read_bytes=100,
        scratchpad_write_bytes=50,
        accumulator_read_bytes=30,
        accumulator_write_bytes=10,
    )
    return TagStatistics(tag, start, end, busy, counts)


LAYERS = (
    Layer("encoder.fc1", "mfm.linear", 1024 * 800, 2560),
    Layer("folded", "mfm.add", 0, 0),
    Layer("encoder.gelu", "mfm.gelu", 0, 25600),
)
TAGS = (
    statistics(0, 0, 1000, matrix=800, dma=200, macs=1024 * 800),
    statistics(2, 400, 2500, vector=300, dma=1100),
)


def report(tags: Sequence[TagStatistics] = TAGS, timeline: Timeline | None = None) -> Report:
    return Report.from_statistics(EDGE, LAYERS, 2500, tags, timeline, [HOST])


def events() -> Timeline:
    return Timeline(
        engine=np.array([0, 2, 3], np.uint8),
        opcode=np.array([Opcode.DMA_IN, Opcode.MATMUL, Opcode.GELU], np.uint8),
        tag=np.array([0, 0, 2], np.uint32),
        start=np.array([0, 100, 1000], np.uint64),
        end=np.array([100, 900, 1300], np.uint64),
        completion=np.array([200, 1000, 1316], np.uint64),
        instruction=np.array([0, 1, 2], np.uint32),
    )


def test_layers_partition_the_time_and_sum_to_the_whole() -> None:
    made = report()
    assert [layer.cycles for layer in made.layers] == [1000, 0, 1500]
    assert sum(layer.cycles for layer in made.layers) == made.cycles == 2500
    assert made.seconds == 2500 / EDGE.frequency_hz


def test_a_layer_that_ends_before_an_earlier_one_takes_no_time() -> None:
    late = statistics(0, 0, 2500, matrix=2000)
    made = report([late, statistics(2, 400, 900, vector=300)])
    assert [layer.cycles for layer in made.layers] == [2500, 0, 0]


def test_a_tag_without_a_layer_is_shown() -> None:
    made = report([*TAGS, statistics(5, 2400, 2500, dma=10)])
    assert made.layers[-1].name == "tag 5"
    assert made.dram_read_bytes == 20 * (200 + 1100 + 10)


def test_energy_is_counts_times_table() -> None:
    made = report()
    table = EDGE.energy
    assert made.energy["mac"] == pytest.approx(1024 * 800 * table.mac.value * 1e-12)
    assert made.energy["dram"] == pytest.approx(26 * 1300 * table.dram.value * 1e-12)
    assert made.energy_joules == pytest.approx(sum(made.energy.values()))
    assert made.energy_joules == pytest.approx(sum(layer.energy_joules for layer in made.layers))


def paged_report() -> Report:
    """Two layers on a target with pages: 1500 bursts, 80 pages opened."""
    tags = [
        replace(tag, counts=replace(tag.counts, rows=rows))
        for tag, rows in zip(
            TAGS, (RowCounts(1000, 10, 20, 30, 40), RowCounts(420, 30, 20, 70, 60)), strict=True
        )
    ]
    return Report.from_statistics(Target.load("edge@ddr4-3200"), LAYERS, 2500, tags)


def test_pages_are_summed_charged_and_shown() -> None:
    made = paged_report()
    assert made.rows == RowCounts(1420, 40, 40, 100, 100)
    assert made.energy["activate"] == pytest.approx(80 * 4200e-12)
    assert made.energy_joules == pytest.approx(sum(made.energy.values()))
    twice = Report.merge([made, made])
    assert twice.rows == RowCounts(2840, 80, 80, 200, 200)
    values = json.loads(made.to_json())
    assert values["rows"]["conflicts"] == 40
    assert values["layers"][0]["rows"]["hits"] == 1000
    line = " ".join(rendered(made, 200).split())
    assert "94.67% of bursts hit, 80 opened (40 after closing another)" in line
    assert "waited 4.00% of the cycles for pages, transfers 4.00% for refresh" in line
    assert "opening DRAM pages" in html(made)
    assert "80 were opened" in html(made)


def test_a_target_without_pages_says_nothing_of_them() -> None:
    assert report().rows == RowCounts()
    assert report().energy["activate"] == 0
    assert "pages" not in rendered(report(), 200)
    assert "page" not in html(report()).partition("<body>")[2]


def test_static_energy_is_that_of_the_whole_time() -> None:
    static = EDGE.energy.static.model_copy(update={"value": 0.5})
    target = EDGE.model_copy(update={"energy": EDGE.energy.model_copy(update={"static": static})})
    made = Report.from_statistics(target, LAYERS, 2500, TAGS)
    assert made.energy["static"] == pytest.approx(0.5 * made.seconds)


def test_roofline_is_the_larger_of_array_and_bandwidth() -> None:
    first, folded, second = report().layers
    assert first.roofline_cycles == 800
    assert folded.roofline_cycles == 0
    assert second.roofline_cycles == pytest.approx(25600 / 25.6)
    # Over all layers too: the first one's products fill the time of the second one's transfers.
    made = report()
    bytes_moved = sum(layer.compulsory_bytes for layer in made.layers)
    assert made.roofline_cycles == pytest.approx(max(made.macs / 1024, bytes_moved / 25.6))
    assert made.roofline_cycles < sum(layer.roofline_cycles for layer in made.layers)


def test_traffic_is_bound_by_what_is_compulsory_and_by_the_memory_on_chip() -> None:
    memory = EDGE.scratchpad_bytes + EDGE.accumulator_bytes
    macs = 10 * memory * int(memory**0.5)
    assert traffic_bound(EDGE, Layer("", "integer_linear + integer_gelu", macs, 99)) == (
        pytest.approx(18 * memory, rel=0.01)
    )
    assert traffic_bound(EDGE, Layer("", "integer_linear", macs, 99 * memory)) == 99 * memory
    assert traffic_bound(EDGE, Layer("", "integer_conv1d", macs, 99)) == 99
    assert traffic_bound(EDGE, Layer("", "integer_attention", macs, 99)) == 99
    assert report().traffic_bound_bytes == 2560 + 25600


def test_utilization_counts_the_work_of_the_model_only() -> None:
    twice = statistics(0, 0, 1000, matrix=1000, macs=2 * 1024 * 800)
    made = report([twice, TAGS[1]])
    assert made.layers[0].utilization == pytest.approx(0.8)
    assert made.macs == 1024 * 800
    assert made.utilization == pytest.approx(800 / 2500)


@pytest.mark.parametrize(
    ("busy", "bound"),
    [
        ((10, 10, 90, 50), "matrix"),
        ((60, 40, 90, 50), "dram"),
        ((10, 10, 20, 95), "vector"),
        ((20, 10, 40, 30), "latency"),
    ],
)
def test_bound(busy: tuple[int, int, int, int], bound: str) -> None:
    names = ("dma_in", "dma_out", "matrix", "vector")
    assert bound_of(dict(zip(names, busy, strict=True)), 100) == bound


def test_merge_adds_layers_of_one_name_and_keeps_host_operations_once() -> None:
    once = report()
    merged = Report.merge([once, once, once])
    assert merged.calls == 3
    assert merged.cycles == 3 * once.cycles
    assert [layer.name for layer in merged.layers] == [layer.name for layer in once.layers]
    assert [layer.cycles for layer in merged.layers] == [3000, 0, 4500]
    assert merged.energy_joules == pytest.approx(3 * once.energy_joules)
    assert merged.utilization == pytest.approx(once.utilization)
    assert merged.roofline_cycles == pytest.approx(3 * once.roofline_cycles)
    assert merged.layers[0].end_cycle == 2 * 2500 + 1000
    assert merged.host_operations == (HOST,)


def test_merge_of_one_is_itself_and_of_none_is_refused() -> None:
    assert Report.merge([report()]) == report()
    with pytest.raises(ValueError, match="no reports"):
        Report.merge([])


def test_merge_moves_timelines() -> None:
    once = report(timeline=events())
    merged = Report.merge([once, once])
    assert merged.timeline is not None
    assert merged.timeline.start.tolist() == [0, 100, 1000, 2500, 2600, 3500]
    assert merged.timeline.layer.tolist() == [0, 0, 2, 0, 0, 2]
    assert Report.merge([once, report()]).timeline is None


def test_an_accelerator_without_work() -> None:
    empty = Report.empty(EDGE, [HOST])
    assert (empty.cycles, empty.utilization, empty.energy_joules) == (0, 0.0, 0.0)
    assert json.loads(empty.to_json())["host_operations"][0]["name"] == "mfm.compare"
    assert "mfm.compare" in html(empty)
    Console(quiet=True).print(empty.table())


def test_json_holds_every_number() -> None:
    made = report()
    values = json.loads(made.to_json())
    for name in (
        "cycles", "seconds", "dram_read_bytes", "dram_write_bytes", "energy_joules", "macs",
        "utilization", "roofline_cycles", "traffic_bound_bytes",
    ):  # fmt: skip
        assert values[name] == getattr(made, name)
    first = values["layers"][0]
    assert first["busy"] == {"dma_in": 200, "dma_out": 0, "matrix": 800, "vector": 0}
    assert first["bound"] == "matrix"


def rendered(made: Report, width: int, limit: int | None = None) -> str:
    text = io.StringIO()
    Console(width=width, file=text).print(made.table(limit))
    return text.getvalue()


def test_table_fits_a_terminal_of_80_columns() -> None:
    text = rendered(report(), 80)
    assert "encoder.fc1" in text
    assert "2,500" in text
    assert "matrix" in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_table_with_a_limit_shows_the_longest_and_the_rest_as_one() -> None:
    text = rendered(report(), 80, limit=1)
    assert "encoder.gelu" in text
    assert "encoder.fc1" not in text
    assert "2 more" in text
    assert "1,000" in text


class _Page(HTMLParser):
    """Collects tags that are left open and whatever would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_escaped_and_fetches_nothing() -> None:
    page = _Page()
    text = html({"encode": report(), "decode": Report.merge([report()] * 2)}, "a <title>")
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.fetched == []
    assert "a &lt;title&gt;" in text
    assert "decoder &lt;mask&gt;" in text
    assert "works on i1 &amp; nothing else" in text


def test_timeline_has_a_track_per_engine_and_microseconds() -> None:
    trace = json.loads(timeline_json(report(timeline=events())))["traceEvents"]
    tracks = {event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    assert tracks == {"dma_in", "dma_out", "matrix", "vector"}
    complete = [event for event in trace if event["ph"] == "X"]
    assert [event["name"] for event in complete] == [
        "encoder.fc1: dma_in", "encoder.fc1: matmul", "encoder.gelu: gelu",
    ]  # fmt: skip
    assert (complete[1]["tid"], complete[1]["ts"], complete[1]["dur"]) == (2, 0.1, 0.8)


def test_timeline_of_a_report_without_one_is_empty() -> None:
    trace = json.loads(timeline_json(report()))["traceEvents"]
    assert all(event["ph"] == "M" for event in trace)
