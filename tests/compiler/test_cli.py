"""The girih command on a small model: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from girih.compiler.artifact import load
from girih.compiler.cli import run
from girih.runtime.target import Target

MODEL = """
import torch

def build():
    torch.manual_seed(0)
    layers = torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 5)
    return torch.nn.Sequential(*layers).eval(), (torch.randn(3, 8),)

def several():
    module, inputs = build()
    return {"one": (module, inputs), "two": (module, (torch.randn(2, 8),))}

def broken():
    raise RuntimeError("no weights here")

def number():
    return 7

def empty():
    with torch.device("meta"):
        return torch.nn.Linear(8, 16), (torch.empty(3, 8),)
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, its artifact and inputs, and damaged ones."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny_model.py").write_text(MODEL)
    assert run(["compile", f"{folder}/tiny_model.py:build", "-o", f"{folder}/m.girih"]) == 0
    content = (folder / "m.girih").read_bytes()
    (folder / "short.girih").write_bytes(content[:-100])
    (folder / "text.npz").write_text("no archive")
    tiny = Target.load("edge").model_copy(
        update={"name": "tiny", "scratchpad_bytes": 256, "accumulator_bytes": 256}
    )
    (folder / "tiny.yaml").write_text(tiny.to_yaml())
    (folder / "text.pt2").write_text("no archive")
    (folder / "bad_target.yaml").write_text("name: bad\narray: {rows: -1, columns: 4}\n")
    rows = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    np.save(folder / "x.npy", rows)
    np.savez(folder / "x.npz", argument0=rows)
    np.save(folder / "wrong_shape.npy", rows[:2])
    np.save(folder / "wrong_type.npy", rows.astype(np.complex64))
    np.savez(folder / "objects.npz", np.array([{}], dtype=object))
    np.savez(folder / "examples.npz", np.stack([rows, rows + 1]))
    np.savez(folder / "uneven.npz", np.zeros((2, 3, 8)), np.zeros((3, 3, 8)))
    return folder


@pytest.mark.parametrize("device", ["iree", "npu"])
@pytest.mark.parametrize("file", ["x.npy", "x.npz"])
def test_run_is_the_program(folder: Path, tmp_path: Path, device: str, file: str) -> None:
    output = tmp_path / "out.npz"
    words = ["run", f"{folder}/m.girih", "--input", f"{folder}/{file}", "--device", device]
    assert run([*words, "-o", str(output)]) == 0
    expected = load(folder / "m.girih")(np.load(folder / "x.npy"))
    with np.load(output) as found:
        np.testing.assert_array_equal(found["result0"], expected[0])


def test_a_mapping_is_printed_and_followed(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["inspect", f"{folder}/m.girih", "--mapping"]) == 0
    text = capsys.readouterr().out
    assert text == load(folder / "m.girih").mapping
    given = tmp_path / "mapping.yaml"
    given.write_text(text, encoding="utf-8")
    words = ["compile", f"{folder}/tiny_model.py:build", "-o", f"{tmp_path}/again.girih"]
    assert run([*words, "--mapping", str(given)]) == 0
    again = yaml.safe_load(load(tmp_path / "again.girih").mapping)
    first = yaml.safe_load(text)
    tiles = [[each["region"], each["tiles"]] for each in first["regions"]]
    assert [[each["region"], each["tiles"]] for each in again["regions"]] == tiles


def test_run_describes_results(folder: Path, capsys: Capture) -> None:
    assert run(["run", f"{folder}/m.girih", "--random", "--integers"]) == 0
    assert capsys.readouterr().out.startswith("result0: 3x5 int")


def test_simulate(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    report, timeline = tmp_path / "report.json", tmp_path / "timeline.json"
    words = ["simulate", f"{folder}/m.girih", "--report", str(report)]
    assert run([*words, "--random", "--timeline", str(timeline)]) == 0
    assert "cycles" in capsys.readouterr().out
    cycles = json.loads(report.read_text())["cycles"]
    assert len(json.loads(timeline.read_text())["traceEvents"]) > 5
    assert run([*words, "--timing-only"]) == 0
    assert json.loads(report.read_text())["cycles"] == cycles > 0
    page = tmp_path / "report.html"
    assert run(["simulate", f"{folder}/m.girih", "--timing-only", "--report", str(page)]) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_inspect(folder: Path, capsys: Capture) -> None:
    assert run(["inspect", f"{folder}/m.girih", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["recipe"] == "w8a8"
    assert values["entries"]["main"]["arguments"][0]["shape"] == [3, 8]
    kernel = next(iter(values["kernels"]))
    assert values["kernels"][kernel]["macs"] == 3 * 8 * 16 + 3 * 16 * 5
    assert run(["inspect", f"{folder}/m.girih"]) == 0
    text = capsys.readouterr().out
    assert "argument0" in text
    assert "default: 8" in text
    assert [row["bytes"] for row in values["recipe_table"]["rows"]] == [8 * 16, 16 * 5]
    assert run(["inspect", f"{folder}/m.girih", "--disassemble", kernel]) == 0
    assert "matmul" in capsys.readouterr().out


def test_targets(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["targets"]) == 0
    assert "edge" in capsys.readouterr().out
    assert run(["targets", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)][1] == "edge"
    assert run(["targets", "small"]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert run(["targets", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["array"]["rows"] == 16
    assert run(["targets", f"{path}@7nm@ddr4-3200", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert (changed["energy"]["node"], changed["dram"]["pages"]["banks"]) == ("7nm", 16)
    assert run(["targets", "edge@ddr9"]) == 1
    assert "the memories ddr3-1600, ddr4-3200" in capsys.readouterr().err


def test_models(capsys: Capture) -> None:
    assert run(["models"]) == 0
    text = capsys.readouterr().out
    assert "Whisper" in text
    assert "exact" in text
    assert run(["models", "whisper"]) == 0
    text = capsys.readouterr().out
    assert "Whisper decode" in text
    assert "LLaVA" not in text
    assert run(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["families"]) == 41
    assert set(found["versions"]) == {"torch", "transformers"}


def test_compile_several_entries_with_calibration(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    calibration = tmp_path / "calibration.npz"
    np.savez(calibration, **{"one/x": np.ones((2, 3, 8), np.float32)})
    output, dump = tmp_path / "m.girih", tmp_path / "ir"
    words = ["compile", f"{folder}/tiny_model.py:several", "-o", str(output)]
    words += ["--calibration", str(calibration), "--target", "small", "--dump-ir", str(dump)]
    assert run(words) == 0
    program = load(output)
    assert list(program) == ["one", "two"]
    assert program.executable.target.name == "small"
    assert (dump / "00-import.mlir").is_file()
    printed = capsys.readouterr().err
    assert "default: 8" in printed
    assert printed.splitlines()[-1] == f"wrote {output}: one, two"
    assert run(["run", str(output), "--entry", "two", "--random"]) == 0


def test_compile_an_exported_program(tmp_path: Path) -> None:
    exported = torch.export.export(torch.nn.Linear(4, 3).eval(), (torch.ones(2, 4),))
    torch.export.save(exported, tmp_path / "m.pt2")
    words = ["compile", f"{tmp_path}/m.pt2", "-o", f"{tmp_path}/m.girih", "--recipe", "float"]
    assert run(words) == 0
    (result,) = load(tmp_path / "m.girih")(np.ones((2, 4), np.float32))
    assert result.shape == (2, 3)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run m.girih", "no value for argument0"),
        ("run m.girih --input wrong_shape.npy", "has shape [2, 8], expected [3, 8]"),
        ("run m.girih --input wrong_type.npy", "has dtype complex64, expected float32"),
        ("run m.girih --input missing.npy", "missing.npy: No such file"),
        ("run m.girih --input text.npz", "text.npz: not a .npz or .npy file"),
        ("run m.girih --input objects.npz", "objects.npz: not a .npz or .npy file"),
        ("run m.girih --input x.npz --input x.npy", "found 2 arguments, expected 1"),
        ("run m.girih --random --entry other", "no entry point 'other': the program has main"),
        ("run m.girih --random --device gpu", "no device 'gpu': expected iree or npu"),
        ("run m.girih --random -o none/out.npz", "no folder"),
        ("run m.girih --random -o .", "is a folder, expected the name of a file"),
        ("run missing.girih --random", "missing.girih: can not be read"),
        ("run short.girih --random", "short.girih: has "),
        ("simulate short.girih --random", "truncated"),
        ("simulate m.girih --random --entry other", "no entry point 'other'"),
        ("simulate m.girih --input wrong_shape.npy", "has shape [2, 8]"),
        ("inspect short.girih", "truncated"),
        ("inspect x.npy", "not a girih artifact"),
        ("inspect m.girih --disassemble none", "no kernel 'none': the program has main"),
        ("targets bad_target.yaml", "array.rows: input should be greater than or equal to 1"),
        ("targets missing.yaml", "missing.yaml: can not be read"),
        ("targets nowhere", "no target is named 'nowhere'"),
        ("models nowhere", "no tested family is named 'nowhere'; there are BERT, GPT-2"),
        ("compile tiny_model.py:build -o o.girih --target bad_target.yaml", "array.rows"),
        ("compile tiny_model.py:build -o o.girih --target tiny.yaml", "'tiny' is too small"),
        ("compile tiny_model.py:build -o o.girih --recipe w3a3", "no recipe 'w3a3'"),
        ("compile tiny_model.py:build -o none/o.girih", "no folder"),
        ("compile tiny_model.py:missing -o o.girih", "has no function 'missing'"),
        ("compile tiny_model.py:broken -o o.girih", "RuntimeError: no weights here"),
        ("compile tiny_model.py:number -o o.girih", "returned a int, expected"),
        ("compile tiny_model.py -o o.girih", "expected file.py:function"),
        ("compile missing.py:build -o o.girih", "missing.py: no such file"),
        ("compile no.such.package:build -o o.girih", "ModuleNotFoundError"),
        ("compile missing.pt2 -o o.girih", "missing.pt2: no such file"),
        ("compile text.pt2 -o o.girih", "text.pt2: not an exported program"),
        ("compile tiny_model.py:build -o o.girih --calibration text.npz", "text.npz: not a"),
        ("compile tiny_model.py:build -o o.girih --calibration uneven.npz", "[2, 3] examples"),
        ("compile tiny_model.py:several -o o.girih --calibration x.npz", "no entry point"),
        ("compile whisper-tiny.en -o o.girih --target nowhere", "no target is named"),
        ("compile tiny_model.py:build -o o.girih --mapping none.yaml", "none.yaml: can not be"),
        ("compile tiny_model.py:build -o o.girih --mapping bad_target.yaml", "expected `regions`"),
    ],
)
def test_a_refusal_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: str, expected: str
) -> None:
    monkeypatch.chdir(folder)
    before = {path.name for path in folder.iterdir()} | {"__pycache__"}
    assert run(words.split()) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert error.startswith("girih: ")
    assert error.count("\n") == 1
    assert {path.name for path in folder.iterdir()} <= before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run", "Missing argument"),
        ("run m.girih --no-such-option", "No such option"),
        ("fly m.girih", "No such command"),
        ("compile m.py:f", "Missing option"),
        ("simulate m.girih --report out.txt", "must end in .html or .json"),
        ("simulate m.girih --timing-only --random", "goes without inputs"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: str, expected: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(words.split()) == 2
    assert expected in capsys.readouterr().err


def test_a_defect_is_reported_without_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(executable: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("girih.compiler.cli_inspect.describe", fail)
    assert run(["inspect", f"{folder}/m.girih", "--json"]) == 1
    error = capsys.readouterr().err
    assert "KeyError: 'oops'" in error
    assert "please report" in error
    assert "Traceback" not in error
    monkeypatch.setenv("GIRIH_DEBUG", "1")
    with pytest.raises(KeyError):
        run(["inspect", f"{folder}/m.girih", "--json"])


def test_as_a_process(folder: Path) -> None:
    command = [sys.executable, "-m", "girih.compiler.cli", "inspect", f"{folder}/short.girih"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_listing_targets_and_models_loads_no_compiler() -> None:
    code = (
        "import sys; from girih.compiler.cli import run; run(['targets', 'edge']); "
        "run(['models']); "
        "sys.exit(bool({'torch', 'torch_mlir'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_estimate_is_the_simulated_cost(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "estimate.json"
    assert run(["estimate", f"{folder}/tiny_model.py:build", "--report", str(report)]) == 0
    expected = load(folder / "m.girih")["main"].cost().report.to_dict()
    assert json.loads(report.read_text()) == {"main": json.loads(json.dumps(expected))}


def test_estimate_of_entries_and_of_a_module_without_weights(folder: Path, capsys: Capture) -> None:
    assert run(["estimate", f"{folder}/tiny_model.py:several"]) == 0
    assert run(["estimate", f"{folder}/tiny_model.py:empty", "--target", "small"]) == 0
    # A long folder is broken over lines.
    shown = "".join(capsys.readouterr().out.split())
    assert all(name in shown for name in (":several:one:", ":several:two:", ":empty:main:"))


def test_estimate_refuses_a_prompt_that_is_none(folder: Path, capsys: Capture) -> None:
    assert run(["estimate", f"{folder}/tiny_model.py:build", "--cache-length", "9"]) == 1
    assert "(model, prompt)" in capsys.readouterr().err
