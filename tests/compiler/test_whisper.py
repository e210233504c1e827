"""Whisper, whole: the reference, IREE and the simulator give the same integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from girih.compiler.models.speech import compile_whisper
from girih.runtime.audio import log_mel, read_audio
from girih.runtime.target import Target

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

HAND_CHANGED = {"array": {"rows": 24, "columns": 24}, "scratchpad_bytes": 96 * 1024}


@pytest.fixture(scope="module", params=["edge", "small", "24x24"])
def program(request: pytest.FixtureRequest) -> Any:
    target = Target.load("edge" if request.param == "24x24" else request.param)
    if request.param == "24x24":
        dram = target.dram.model_copy(update={"bandwidth_bytes_per_second": 5_000_000_000})
        changes = target.model_dump() | HAND_CHANGED | {"dram": dram.model_dump()}
        target = Target.model_validate(changes)
    clips = sorted((ROOT / "examples/data/calibration").glob("*.wav"))
    return compile_whisper(target, calibration_audio=clips)


def test_reference_and_both_devices_agree_to_the_bit(program: Any) -> None:
    features = log_mel(read_audio(ROOT / "examples/data/demo.wav"))
    encode, decode = program["encode"], program["decode"]
    cross = encode.reference(features, integers=True)
    for device in ("iree", "npu"):
        found = encode(features, device=device, integers=True)
        assert all(np.array_equal(a, b) for a, b in zip(cross, found, strict=True)), device
    own = [np.zeros((1, 448, 384), np.int8)] * len(cross)
    for position, token in enumerate((50257, 50362)):
        inputs = (np.array([[token]]), np.array([position]), *own, *cross)
        expected = decode.reference(*inputs, integers=True)
        for device in ("iree", "npu"):
            found = decode(*inputs, device=device, integers=True)
            assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True)), device
        own = list(expected[1:])


def test_a_simulated_encoder_is_near_its_roofline(program: Any) -> None:
    report = program["encode"].cost().report
    limits = {"edge": 1.5, "small": 1.7}
    name = report.target if report.macs_per_cycle != 24 * 24 else ""
    assert report.cycles / report.roofline_cycles <= limits.get(name, 4.0)
    attention = [layer for layer in report.layers if "attention" in layer.operation]
    assert len(attention) == 4
    for layer in attention:
        # Results alone are written: no score ever leaves the chip.
        assert layer.dram_write_bytes == 1500 * 384
