"""Target files: the presets, and errors that name the field."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from girih.runtime.energy import EnergyEntry, Node, Sram
from girih.runtime.errors import GirihError, TargetError
from girih.runtime.memory import Memory
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
        assert energy.node in ("7nm", "45nm")
        for field in type(energy).model_fields:
            entry = getattr(energy, field)
            if isinstance(entry, EnergyEntry):
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


def test_a_node_gives_what_lies_on_the_chip() -> None:
    edge = Target.load("edge")
    old = Target.load("edge@45nm")
    assert old.name == "edge@45nm"
    assert (edge.energy.node, old.energy.node) == ("7nm", "45nm")
    assert (edge.energy.mac.value, old.energy.mac.value) == (0.1, 0.3)
    # An access of 8 bytes: 20 pJ at 32 KiB, 100 pJ at 1 MiB; 512 KiB is four fifths of the way.
    assert old.energy.scratchpad.value == pytest.approx(20 * 5**0.8 / 8, abs=0.01)
    assert "interpolated to 512 KiB" in old.energy.scratchpad.source
    assert old.energy.dram == edge.energy.dram, "DRAM is not on the chip"
    assert old.at_node("7nm").energy == edge.energy
    assert Target.load("small@45nm").energy == Target.load("small").energy


def test_what_is_written_beside_a_node_counts() -> None:
    text = Target.load("edge").to_yaml()
    values = yaml.safe_load(text)
    mine = {"value": 7.0, "unit": "pJ/MAC", "source": "measured"}
    values["energy"] = {"node": "45nm", "dram": values["energy"]["dram"], "mac": mine}
    target = Target.from_yaml(yaml.safe_dump(values))
    assert target.energy.mac.value == 7.0
    assert target.energy.vector_operation.value == 3.2
    assert Target.from_yaml(target.to_yaml()) == target
    values["energy"]["node"] = "5nm"
    with pytest.raises(TargetError, match=r"energy.node: .*named '5nm'; there are 45nm, 7nm"):
        Target.from_yaml(yaml.safe_dump(values))


def test_sizes_outside_a_table_take_its_end() -> None:
    sram = Sram(source="a paper", access_bytes=8, picojoules={1024: 8.0, 4096: 16.0})
    assert sram.per_byte(512).value == sram.per_byte(1024).value == 1.0
    assert sram.per_byte(1 << 20).value == 2.0
    assert "banks of that size" in sram.per_byte(1 << 20).source
    assert sram.per_byte(2048).value == pytest.approx(2**0.5, abs=0.01)


def test_memories_bring_their_bus_and_their_energy() -> None:
    for name in Memory.names():
        target = Target.load(f"edge@{name}")
        memory = Memory.load(name)
        assert target.dram.pages == memory.pages
        assert target.dram.bandwidth_bytes_per_second == memory.bandwidth_bytes_per_second
        assert target.dram.capacity_bytes == Target.load("edge").dram.capacity_bytes
        assert target.energy.activate == memory.energy.activate
        assert Target.from_yaml(target.to_yaml()) == target
    both = Target.load("edge@45nm@ddr3-1600")
    assert both.name == "edge@45nm@ddr3-1600"
    assert both.energy.mac == Node.load("45nm").mac


def test_row_times_become_bus_bytes_and_refresh_cycles() -> None:
    parameters = Target.load("edge@ddr4-3200").dram.page_parameters(10**9)
    assert parameters is not None
    # 25.6 bytes a nanosecond: 13.75 ns are 352 bytes; a cycle is a nanosecond.
    assert parameters["activate"] == parameters["precharge"] == 352
    assert parameters["row_cycle"] == 1184
    assert (parameters["refresh_interval_cycles"], parameters["refresh_cycles"]) == (7800, 350)
    assert parameters["reopen_cycles"] == 14
    assert (1 << parameters["page_shift"], 1 << parameters["burst_shift"]) == (8192, 64)
    assert Target.load("edge").dram.page_parameters(10**9) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"page_bytes": 3000}, "dram.pages: .*power of two for page_bytes, found 3000"),
        ({"banks": 6}, "dram.pages: .*power of two for banks, found 6"),
        ({"activate_nanoseconds": -1}, "dram.pages.activate_nanoseconds: .*found -1"),
        ({"refresh_interval_nanoseconds": 300}, "activate after it take 364 of every 300 cycles"),
    ],
)
def test_impossible_pages_are_named(change: dict[str, float], message: str) -> None:
    values = Target.load("edge@ddr4-3200").model_dump()
    values["dram"]["pages"].update(change)
    with pytest.raises(TargetError, match=message):
        Target.from_yaml(yaml.safe_dump(values))


def test_pages_need_the_energy_of_an_activate() -> None:
    values = Target.load("edge@ddr4-3200").model_dump()
    del values["energy"]["activate"]
    with pytest.raises(TargetError, match=r"both or neither, found dram.pages alone"):
        Target.from_yaml(yaml.safe_dump(values))


def test_an_unknown_change_is_named() -> None:
    with pytest.raises(TargetError, match=r"'hbm9'; the nodes are 45nm, 7nm, the memories ddr3"):
        Target.load("edge@hbm9")


@pytest.mark.parametrize(
    ("name", "volts", "currents", "row_times", "burst_nanoseconds"),
    [
        # IDD0, IDD3N, IDD2N, IDD4R in mA; tRAS and tRP in ns; of DRAMsim3's configurations.
        ("ddr4-3200", 1.2, (57, 52, 37, 168), (32.5, 13.75), 2.5),
        ("ddr3-1600", 1.35, (55, 38, 32, 157), (35.0, 13.75), 5.0),
    ],
)
def test_memory_energies_follow_from_the_currents_in_their_source(
    name: str,
    volts: float,
    currents: tuple[int, int, int, int],
    row_times: tuple[float, float],
    burst_nanoseconds: float,
) -> None:
    memory = Memory.load(name)
    operating, active, precharged, reading = currents
    open_time, closed_time = row_times
    devices = 8
    activate = operating * sum(row_times) - active * open_time - precharged * closed_time
    assert memory.energy.activate.value == pytest.approx(volts * activate * devices, rel=1e-4)
    burst = volts * (reading - active) * burst_nanoseconds * devices
    assert memory.energy.dram.value == pytest.approx(burst / memory.burst_bytes, rel=1e-3)
    assert memory.pages.row_cycle_nanoseconds == sum(row_times)
    assert memory.burst_bytes / burst_nanoseconds * 1e9 == memory.bandwidth_bytes_per_second


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
