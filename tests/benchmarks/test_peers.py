"""Peers are asked once, in an environment of their own, and a missing one is told, not guessed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DRIVER = """
import json, pathlib, sys
case = json.load(sys.stdin)
calls = pathlib.Path(__file__).with_suffix(".calls")
for gemm in case["gemms"]:
    if gemm["rows"] == 13:
        sys.exit("unlucky")
    with calls.open("a") as file:
        file.write(f"{gemm['rows']} ")
    print(json.dumps({"cycles": 10 * gemm["rows"], "buffering": case["buffering"]}), flush=True)
"""


@pytest.fixture
def environments(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from peers import environments

    monkeypatch.setattr(environments, "DRIVERS", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(environments.Peer, "interpreter", lambda self: sys.executable)
    (tmp_path / "fake.py").write_text(DRIVER)
    return environments


def ask(environments: ModuleType, rows: list[int], fresh: bool = False, **case: Any) -> list[Any]:
    from gemms import Gemm

    gemms = [Gemm(f"{count} rows", count, 4, 4) for count in rows]
    peer = environments.Peer("fake", ("fake==1",))
    return environments.answers(peer, {"buffering": "single", **case}, gemms, fresh)


def test_an_answer_is_remembered_by_its_inputs(environments: ModuleType, tmp_path: Path) -> None:
    assert [each["cycles"] for each in ask(environments, [2, 3])] == [20, 30]
    assert [each["cycles"] for each in ask(environments, [3, 5, 2])] == [30, 50, 20]
    assert ask(environments, [2], buffering="double")[0]["buffering"] == "double"
    ask(environments, [5], fresh=True)
    assert (tmp_path / "fake.calls").read_text().split() == ["2", "3", "5", "2", "5"]


def test_a_changed_driver_is_asked_again(environments: ModuleType, tmp_path: Path) -> None:
    ask(environments, [2])
    (tmp_path / "fake.py").write_text(DRIVER.replace("10 *", "11 *"))
    assert ask(environments, [2])[0]["cycles"] == 22


def test_a_failure_is_told_and_loses_no_answer(environments: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(environments.UnavailableError, match="fake failed"):
        ask(environments, [7, 13])
    assert "unlucky" in (tmp_path / "fake.log").read_text()
    ask(environments, [7])
    assert (tmp_path / "fake.calls").read_text().split() == ["7"]


def test_a_missing_python_is_told(environments: ModuleType) -> None:
    with pytest.raises(environments.UnavailableError, match=r"no python3\.99 on PATH"):
        environments.Peer._find("3.99")


def test_the_closed_form_is_what_scalesim_counts(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SCALE-Sim 3.0.0 on a 32 x 32 array, weight stationary, as benchmarks/mapping.py runs it.
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from gemms import Gemm

    from girih.runtime.target import Target

    edge = Target.load("edge")
    seen = {(1, 384, 384): 13679, (300, 64, 384): 9455, (1500, 1500, 64): 149835}
    for (rows, columns, depth), cycles in seen.items():
        assert Gemm("", rows, columns, depth).systolic_cycles(edge) == cycles
