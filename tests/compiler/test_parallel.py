"""Several accelerators: what each does, what crosses the link, and what cannot be shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

import girih
from girih.runtime.parallel_report import ParallelReport
from girih.runtime.target import Devices

LINK = {
    "bandwidth_bytes_per_second": 10_000_000_000,
    "latency_cycles": 100,
    "energy": {"value": 10.0, "unit": "pJ/byte", "source": "made up for a test"},
}
LAYERS, WIDTH, TOKENS = 2, 32, 6


def target(count: int, parallel: str, microbatches: int = 1) -> girih.Target:
    devices = Devices.model_validate(
        {"count": count, "parallel": parallel, "microbatches": microbatches, "link": LINK}
    )
    return girih.Target.load("edge").model_copy(update={"devices": devices})


@pytest.fixture(scope="module")
def decoder() -> tuple[nn.Module, dict[str, Any]]:
    config = hf.LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=96,
    )
    with torch.device("meta"):
        model = hf.LlamaForCausalLM(config).eval()
    tokens = torch.zeros(1, TOKENS, dtype=torch.int64)
    return model, {"input_ids": tokens, "use_cache": False, "logits_to_keep": 1}


def estimate(model: tuple[nn.Module, dict[str, Any]], on: girih.Target) -> Any:
    return girih.estimate(*model, target=on)


@pytest.mark.filterwarnings("ignore::girih.DecisionWarning")
def test_one_device_is_the_plain_report_and_two_share_the_work(decoder: Any) -> None:
    plain = estimate(decoder, girih.Target.load("edge"))
    assert estimate(decoder, target(1, "tensor")) == plain
    assert estimate(decoder, target(1, "pipeline")) == plain

    shared = estimate(decoder, target(2, "tensor"))
    assert isinstance(shared, ParallelReport)
    assert shared.macs == plain.macs
    assert [device.macs for device in shared.devices] == [plain.macs // 2] * 2
    assert all(device.cycles < plain.cycles for device in shared.devices)
    # Two all-reduces of int16 hidden states a layer, 2 (p - 1) / p of them sent by each device,
    # and the logits gathered: (p - 1) / p of them.
    hidden, logits = TOKENS * WIDTH * 2, 96 * 2
    assert shared.link_bytes == 2 * (2 * LAYERS * hidden * 2 // 2 + logits // 2)
    assert shared.link_joules == pytest.approx(shared.link_bytes * 10e-12)
    assert shared.cycles == shared.devices[0].cycles + shared.link_cycles
    assert shared.energy_joules == pytest.approx(sum(shared.energy.values()))

    piped = estimate(decoder, target(2, "pipeline", 4))
    assert isinstance(piped, ParallelReport)
    assert sum(device.macs for device in piped.devices) == plain.macs
    assert piped.macs == 4 * plain.macs
    assert all(device.cycles < plain.cycles for device in piped.devices)
    times = [device.cycles for device in piped.devices]
    assert piped.cycles == sum(times) + piped.link_cycles + 3 * max(times)
    assert piped.bubble_share == pytest.approx(1 - 4 * sum(times) / (2 * piped.cycles))
    assert piped.link_bytes >= 4 * hidden


@pytest.mark.filterwarnings("ignore::girih.DecisionWarning")
def test_heads_that_do_not_divide_are_refused(decoder: Any) -> None:
    with pytest.raises(girih.CompilationError, match="3 devices cannot share .*heads"):
        estimate(decoder, target(3, "tensor"))


def test_a_pipeline_longer_than_the_model_is_refused() -> None:
    with pytest.raises(girih.CompilationError, match="choose fewer devices"):
        girih.estimate(nn.Linear(8, 8), (torch.zeros(2, 8),), target=target(4, "pipeline"))


def test_several_devices_are_not_compiled_for() -> None:
    with pytest.raises(girih.CompilationError, match=r"girih\.estimate"):
        girih.compile(nn.Linear(8, 8), (torch.zeros(2, 8),), target=target(2, "tensor"))


def test_a_float_model_has_nothing_to_share() -> None:
    with pytest.raises(girih.CompilationError, match="leaves nothing for the accelerators"):
        girih.estimate(
            nn.Linear(8, 8), (torch.zeros(2, 8),), target=target(2, "tensor"), recipe="float"
        )


@pytest.mark.parametrize("branches", [False, True])
def test_what_needs_the_whole_stays_whole(branches: bool) -> None:
    """A norm between two products reads every column, so neither product is split for it."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(16, 32), nn.LayerNorm(32)
            self.second, self.third = nn.Linear(32, 64), nn.Linear(64, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            normal = self.norm(self.first(x))
            inner = nn.functional.gelu(self.second(normal))
            return self.third(inner * self.second(normal) if branches else inner)

    with torch.device("meta"):
        module = Block().eval()
    report = girih.estimate(module, (torch.zeros(4, 16),), target=target(2, "tensor"))
    assert isinstance(report, ParallelReport)
    split = (2 if branches else 1) * 4 * 32 * 64 + 4 * 64 * 16
    assert report.devices[0].macs == 4 * 16 * 32 + split // 2
    assert report.link_bytes == 2 * (4 * 16 * 2)
