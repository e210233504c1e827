"""The executor: what it takes, what stays on the device, what it refuses."""

from __future__ import annotations

import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.iree import compile_to_vmfb, host_cpu
from girih.runtime import iree
from girih.runtime.errors import ArtifactError, CompilationError, InputError
from girih.runtime.iree import IreeExecutor, missing_features

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
TEXT = """
module @program {
  "util.global"() {sym_name = "w", sym_visibility = "private", type = tensor<2x3xf32>,
    initial_value = #flow.parameter.named<"girih"::"layer.w"> : tensor<2x3xf32>} : () -> ()
  func.func @add(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
    %w = "util.global.load"() {global = @w} : () -> tensor<2x3xf32>
    %y = arith.addf %x, %w : tensor<2x3xf32>
    return %y : tensor<2x3xf32>
  }
  func.func @swap(%a: tensor<i1>, %b: tensor<3xi16>) -> (tensor<3xi16>, tensor<i1>) {
    return %b, %a : tensor<3xi16>, tensor<i1>
  }
}
"""


def compile_text(text: str) -> bytes:
    with create_context():
        module = ir.Module.parse(text)
    return compile_to_vmfb(module, name="the test")


@pytest.fixture(scope="module")
def compiled() -> bytes:
    return compile_text(TEXT)


@pytest.fixture(scope="module")
def executor(compiled: bytes) -> IreeExecutor:
    return IreeExecutor(compiled, {"layer.w": WEIGHT})


def test_functions(executor: IreeExecutor) -> None:
    assert executor.functions == ["add", "swap"]


def test_weights_outlive_their_program(compiled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that still holds them must not be the one that frees them."""
    monkeypatch.setattr(iree, "GRACE_SECONDS", 2.0)
    weight = WEIGHT.copy()
    alive = weakref.ref(weight)
    own = IreeExecutor(compiled, {"layer.w": weight})
    own.call("add", WEIGHT)
    del own, weight
    assert alive() is not None
    deadline = time.monotonic() + 30
    while alive() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive() is None


def test_results_stay_on_the_device(executor: IreeExecutor) -> None:
    (once,) = executor.call("add", np.ones((2, 3), np.float32), resident=True)
    assert once.shape == (2, 3)
    (twice,) = executor.call("add", once)
    np.testing.assert_array_equal(twice, 1 + 2 * WEIGHT)
    np.testing.assert_array_equal(np.asarray(once), 1 + WEIGHT)
    np.testing.assert_array_equal(executor.to_device(WEIGHT).numpy(), WEIGHT)


def test_scalars_booleans_and_strides(executor: IreeExecutor) -> None:
    backwards = np.arange(3, dtype=np.int16)[::-1]
    numbers, flag = executor.call("swap", np.array(True), backwards)
    assert flag.shape == ()
    assert flag.dtype == np.bool_
    assert bool(flag)
    np.testing.assert_array_equal(numbers, backwards)


@pytest.mark.parametrize("given", [np.ones((3, 2), np.float32), np.ones((2, 3), np.float64)])
def test_an_argument_that_does_not_fit(executor: IreeExecutor, given: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"argument 0 of add is .*expected float32\[2, 3\]"):
        executor.call("add", given)


def test_wrong_calls(executor: IreeExecutor) -> None:
    with pytest.raises(InputError, match="takes 1 arguments, found 0"):
        executor.call("add")
    with pytest.raises(InputError, match="no function 'subtract'; there are add, swap"):
        executor.call("subtract")


def test_weights_from_files(compiled: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"layer.w": WEIGHT, "other": WEIGHT}, path)
    found = IreeExecutor(compiled, path).call("add", WEIGHT)[0]
    np.testing.assert_array_equal(found, 2 * WEIGHT)


def test_missing_weights(compiled: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="can not load the module"):
        IreeExecutor(compiled, {"layer.v": WEIGHT})
    with pytest.raises(ArtifactError, match="can not read"):
        IreeExecutor(compiled, tmp_path / "absent.safetensors")


def test_damaged_modules(compiled: bytes) -> None:
    for data in (b"", b"nothing", compiled[: len(compiled) // 2]):
        with pytest.raises(ArtifactError):
            IreeExecutor(data, {"layer.w": WEIGHT})


def test_another_cpu() -> None:
    flags = frozenset({"avx2", "fma", "avx512f"})
    assert missing_features("64bit,avx2,avx512f,fma", flags) == []
    assert missing_features("avx2,avx512vnni,fma", flags) == ["avx512vnni"]
    assert missing_features("avx512vnni", frozenset()) == []


def test_the_machine_that_compiles_can_run() -> None:
    name, features = host_cpu()
    assert name
    assert "+" not in features


def test_refusal_of_another_cpu(compiled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if not {"avx2", "fma"} & set(host_cpu()[1].split(",")):
        pytest.skip("needs a CPU with features to lack")
    monkeypatch.setattr("girih.runtime.iree._host_flags", lambda: frozenset({"sse2"}))
    with pytest.raises(ArtifactError, match="compiled for .*this machine lacks .*again here"):
        IreeExecutor(compiled, {"layer.w": WEIGHT})


def test_the_first_error_of_the_compiler() -> None:
    text = "module @program { func.func @f() -> tensor<3xf32> {\n"
    text += '%y = "util.global.load"() {global = @absent} : () -> tensor<3xf32>\n'
    text += "return %y : tensor<3xf32> } }"
    with pytest.raises(CompilationError, match="IREE can not compile the test: .*@?absent"):
        compile_text(text)
