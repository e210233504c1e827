"""The arithmetic of devices and links, on reports made by hand."""

from __future__ import annotations

import pytest

from girih.runtime.parallel_report import (
    all_gather_bytes,
    all_reduce_bytes,
    pipeline_parallel,
    tensor_parallel,
)
from girih.runtime.report import Report
from girih.runtime.target import Devices, Target


def target(count: int, **fields: object) -> Target:
    energy = {"value": 2.0, "unit": "pJ/byte", "source": "test"}
    link = {"bandwidth_bytes_per_second": 10**9, "latency_cycles": 7, "energy": energy}
    devices = Devices.model_validate({"count": count, "link": link, **fields})
    return Target.load("edge").model_copy(update={"devices": devices})


def report(cycles: int) -> Report:
    return Report("edge", 10**9, 1024, 25.6, cycles, ())


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_rings_send_the_closed_form(devices: int) -> None:
    size = 1 << 20
    assert all_reduce_bytes(size, devices) == 2 * (devices - 1) * size // devices
    assert all_gather_bytes(size, devices) == (devices - 1) * size // devices


def test_devices_wait_for_each_all_reduce() -> None:
    """Of 4 devices: 6 steps of latency and 6/4 of the bytes, at a byte a cycle."""
    found = tensor_parallel(target(4), report(1000), [400, 800], [])
    assert found.link_cycles == 2 * 6 * 7 + 600 + 1200
    assert found.cycles == 1000 + found.link_cycles
    assert found.link_bytes == 4 * (600 + 1200)
    assert found.link_joules == pytest.approx(found.link_bytes * 2e-12)
    assert found.bubble_share == pytest.approx(found.link_cycles / found.cycles)


def test_a_balanced_pipeline_idles_as_gpipe_says() -> None:
    """Stages of one length on a free link: (p - 1) / (m + p - 1) of the time."""
    batches, count = 5, 4
    how = target(count, parallel="pipeline", microbatches=batches)
    found = pipeline_parallel(how, [report(10**6)] * count, [0] * (count - 1))
    assert found.bubble_share == pytest.approx((count - 1) / (batches + count - 1), rel=1e-4)


def test_the_slowest_part_of_a_pipeline_sets_the_pace() -> None:
    how = target(2, parallel="pipeline", microbatches=3)
    assert pipeline_parallel(how, [report(10), report(30)], [13]).cycles == 10 + 30 + 20 + 2 * 30
    assert pipeline_parallel(how, [report(10), report(30)], [93]).cycles == 40 + 100 + 2 * 100
