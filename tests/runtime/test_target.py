"""Target files: the presets, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from girih.runtime.errors import GirihError, TargetError
from girih.runtime.target import Target


def test_presets_load_and_survive_a_round_trip() -> None:
    assert Target.presets() == ("cloud", "edge", "small")
    for name in Target.presets():
        target = Target.load(name)
        assert target.name == name
        assert Target.from_yaml(target.to_yaml()) == target
        assert Target.load(target) is target


def test_preset_sizes() -> None:
    edge, small = Target.load("edge"), Target.load("small")
    assert (edge.array.rows, edge.array.columns) == (32, 32)
    assert (edge.scratchpad_bytes, edge.accumulator_bytes) == (512 << 10, 128 << 10)
    assert edge.dram_bytes_per_cycle == 25.6
    assert edge.vector.lanes == 64
    assert (small.array.rows, small.array.columns) == (16, 16)
    assert (small.scratchpad_bytes, small.accumulator_bytes) == (128 << 10, 32 << 10)
    assert small.dram_bytes_per_cycle == 12.8
    assert edge.macs_per_cycle == 1024
    assert edge.seconds(2_000_000_000) == 2.0


def test_every_energy_has_a_source() -> None:
    for name in Target.presets():
        energy = Target.load(name).energy
        for field in type(energy).model_fields:
            entry = getattr(energy, field)
            assert entry.unit
            assert len(entry.source) > 20


def test_file_by_path(tmp_path: Path) -> None:
    values = yaml.safe_load(Target.load("edge").to_yaml())
    values["name"] = "mine"
    values["array"] = {"rows": 24, "columns": 24}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    assert Target.load(path).array.rows == 24
    assert Target.load(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array": {"rows": 0, "columns": 4}}, "array.rows: .*greater than or equal to 1, found 0"),
        ({"array": {"rows": 4}}, "array.columns: is missing"),
        ({"sratchpad_bytes": 5}, "sratchpad_bytes: is not a field of a target"),
        ({"scratchpad_bytes": 1000}, "scratchpad_bytes: .*multiple of 16, found 1000"),
        ({"frequency_hz": "fast"}, "frequency_hz: .*integer.*found 'fast'"),
        ({"vector": {"lanes": 4, "latency_cycles": 1, "costs": {"add": 0}}}, "vector.costs.add"),
    ],
)
def test_impossible_values_are_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    values = yaml.safe_load(Target.load("edge").to_yaml())
    values.update(change)
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(TargetError, match=message) as caught:
        Target.load(path)
    assert str(path) in str(caught.value)


def test_energy_needs_its_unit() -> None:
    text = Target.load("edge").to_yaml().replace("pJ/MAC", "nJ/MAC")
    with pytest.raises(TargetError, match=r"energy.mac.unit: .*'pJ/MAC'.*found 'nJ/MAC'"):
        Target.from_yaml(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "no target is named 'nope'; the presets are cloud, edge, small"),
        ("./nope.yaml", "nope.yaml: can not be read: No such file"),
        ("/", "can not be read: Is a directory"),
    ],
)
def test_unknown_targets(name: str, message: str) -> None:
    with pytest.raises(GirihError, match=message):
        Target.load(name)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "name: \x00", "frequency_hz: 2020-99-99"])
def test_not_a_target_file(text: str) -> None:
    with pytest.raises(TargetError, match="target: "):
        Target.from_yaml(text)


def test_devices_are_read_and_checked() -> None:
    text = Target.load("edge").to_yaml()
    link = (
        "link: {bandwidth_bytes_per_second: 50000000000, latency_cycles: 500, "
        "energy: {value: 10, unit: pJ/byte, source: a test}}"
    )
    target = Target.from_yaml(f"{text}devices: {{count: 4, parallel: tensor, {link}}}\n")
    assert target.devices is not None
    assert target.devices.count == 4
    assert Target.from_yaml(target.to_yaml()) == target
    for wrong, message in (
        (f"count: 0, {link}", "devices.count"),
        ("count: 2", "devices.link: is missing"),
        (f"count: 2, parallel: data, {link}", "devices.parallel"),
        (f"count: 2, microbatches: 4, {link}", "microbatches are for parallel: pipeline"),
    ):
        with pytest.raises(TargetError, match=message):
            Target.from_yaml(f"{text}devices: {{{wrong}}}\n")
