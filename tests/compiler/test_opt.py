"""girih-opt: order and options of passes, made-up weights, and errors in one sentence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from girih.compiler.opt import parse_arguments, parse_pass, run, synthesize
from girih.passes.calibrate import Calibrate
from girih.passes.quantize import Quantize
from girih.passes.simplify import Simplify

LINEAR = """
func.func @f(%x: tensor<4x8xf32>) -> tensor<4x6xf32> {
  %w = "mfm.parameter"() {parameter = "w"} : () -> tensor<6x8xf32>
  %b = "mfm.parameter"() {parameter = "b"} : () -> tensor<6xf32>
  %0 = "mfm.linear"(%x, %w, %b) {operandSegmentSizes = array<i32: 1, 1, 1>}
     : (tensor<4x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x6xf32>
  return %0 : tensor<4x6xf32>
}
"""
UNDEFINED = """
func.func @g() -> tensor<4xf32> {
  return %y : tensor<4xf32>
}
"""
QUANTIZE = ["--calibrate=random=1", "--quantize"]


@pytest.fixture
def linear(tmp_path: Path) -> str:
    path = tmp_path / "linear.mlir"
    path.write_text(LINEAR)
    return str(path)


def test_without_passes_it_prints_the_module(
    linear: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([linear]) == 0
    captured = capsys.readouterr()
    assert '"mfm.linear"' in captured.out
    assert captured.err == ""


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(LINEAR))
    assert run(["-", "--simplify"]) == 0
    assert "mfm.linear" in capsys.readouterr().out


def test_passes_run_on_made_up_weights(linear: str, capsys: pytest.CaptureFixture[str]) -> None:
    outputs: list[str] = []
    for _ in range(2):
        assert run([linear, *QUANTIZE]) == 0
        outputs.append(capsys.readouterr().out)
    assert "mfm.integer_linear" in outputs[0]
    assert outputs[0] == outputs[1]


def test_given_weights_are_used(
    linear: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "weights.safetensors")
    weights = {"w": np.full((6, 8), 3, np.float32), "b": np.zeros(6, np.float32)}
    safetensors.numpy.save_file(weights, path, metadata={"from": "test"})
    assert run([linear, *QUANTIZE]) == 0
    made_up = capsys.readouterr().out
    assert run([linear, *QUANTIZE, "--parameters", path]) == 0
    assert capsys.readouterr().out != made_up  # other weights, other output scale


def test_order_and_options_of_passes() -> None:
    arguments = parse_arguments(
        ["--simplify", "f", "--quantize=smoothing=0", "--calibrate=random=2"]
    )
    assert arguments.file == "f"
    assert arguments.passes == [Simplify(), Quantize(smoothing=0.0), Calibrate(random=2)]


def test_output_file(linear: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.mlir"
    assert run([linear, "-o", str(path)]) == 0
    assert "mfm.linear" in path.read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["f", "--no-such-pass"], "no pass or option --no-such-pass"),
        (["f", "--quantize=speed=3"], "no option 'speed=3'"),
        (["f", "--quantize=smoothing"], "no option 'smoothing'"),
        (["f", "--quantize=smoothing=much"], "smoothing=much: input should be a valid number"),
        (["f", "g"], "expected one file"),
        (["--simplify"], "expected a file"),
        (["f", "--target"], "--target needs a value"),
    ],
)
def test_wrong_usage(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["missing.mlir"], "missing.mlir: No such file"),
        (["LINEAR", "--target", "nowhere"], "no target is named 'nowhere'"),
        (["LINEAR", "--parameters", "missing.safetensors"], "missing.safetensors: can not be read"),
        (["LINEAR", "--parameters", "LINEAR"], "weights "),
        (["LINEAR", "--quantize"], "run the calibrate pass before it"),
        (["LINEAR", "-o", "none/out.mlir"], "No such file"),
    ],
)
def test_failure_is_one_sentence(
    linear: str, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([linear if word == "LINEAR" else word for word in words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_split_input_keeps_line_numbers_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "several.mlir"
    path.write_text(f"{LINEAR}// -----\n{UNDEFINED}// -----\n{LINEAR}")
    assert run([str(path), "--split-input-file"]) == 1
    captured = capsys.readouterr()
    line = path.read_text().splitlines().index("  return %y : tensor<4xf32>") + 1
    assert f"{path}:{line}:10: use of undeclared SSA value" in captured.err
    assert captured.out.count('"mfm.linear"') == 2


def test_help_names_every_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--quantize=smoothing=0.5" in text
    assert (Quantize.__doc__ or "").splitlines()[0] in text


def test_made_up_rescale_parameters_are_valid() -> None:
    bias, multiplier, shift = synthesize("p", (3, 40), np.dtype(np.int32), rescales=True)
    assert np.abs(bias).max() < 100
    assert multiplier.min() > 0
    assert 1 <= shift.min() <= shift.max() <= 62
    assert (synthesize("p", (3, 40), np.dtype(np.int32), rescales=True)[1] == multiplier).all()
    assert (synthesize("q", (3, 40), np.dtype(np.int32), rescales=True)[1] != multiplier).any()


def test_a_pass_by_name() -> None:
    assert parse_pass("calibrate", "random=3") == Calibrate(random=3)
