"""An artifact comes back as it was saved, or is refused with the file and the place."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from girih.compiler import artifact
from girih.runtime.errors import ArtifactError
from girih.runtime.executable import (
    DramTensor,
    Entry,
    Executable,
    HostOperation,
    Kernel,
    Layer,
    Step,
)
from girih.runtime.signature import Signature, TensorSpec
from girih.runtime.target import Target

CORRUPTIONS = 320


def example() -> Executable:
    """One of everything, with shapes whose bytes are no multiple of the alignment."""
    numbers = np.random.default_rng(0)
    signature = Signature(
        (
            TensorSpec("x", (2, 3), "float32", "int8", scale=0.1 / 3),
            TensorSpec("keys", (1, 4), "int8", "int8", state="keys"),
        ),
        (TensorSpec("result0", (2, 5), "float32", "int16", scale=1e-7),),
    )
    entry = Entry(
        "main",
        signature,
        (Step("npu", "main.npu0", (0, 1), (2,)), Step("host", "main.host1", (2,), (3,))),
        (3,),
        (HostOperation("torch.aten.sin", "model.sin", "no mfm form", "model.py:3", 12),),
    )
    kernel = Kernel(
        "main.npu0",
        numbers.bytes(777),
        (DramTensor("fc.weight", "parameter", -1, 64, (3, 5), "int8"),),
        (Layer("fc", "mfm.integer_linear", 30, 31),),
    )
    return Executable(
        entries={"main": entry},
        parameters={
            "fc.weight": numbers.integers(-127, 128, (3, 5)).astype(np.int8),
            "fc.bias": numbers.integers(-999, 999, (5,)).astype(np.int32),
            "fc.transposed": numbers.standard_normal((7, 9)).astype(np.float32).T,
            "mask": np.array([True, False, True]),
            "scalar": np.array(2.5),
            "empty": np.zeros((0, 4), np.float16),
            "aligned": np.arange(64, dtype=np.uint8),
        },
        vmfb=numbers.bytes(1001),
        module=numbers.bytes(130),
        recipe="w8a8",
        target=Target.load("edge"),
        kernels={"main.npu0": kernel},
        dram_bytes=4096,
        processor="znver4",
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "model.girih"
    artifact.save(example(), path)
    return path


def test_round_trip(saved: Path) -> None:
    before, after = example(), artifact.read(saved)
    for field in dataclasses.fields(Executable):
        if field.name != "parameters":
            assert getattr(after, field.name) == getattr(before, field.name), field.name
    assert list(after.parameters) == list(before.parameters)
    for name, array in before.parameters.items():
        found = after.parameters[name]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array, strict=True)


def test_weights_are_aligned_views_of_the_file(saved: Path) -> None:
    for array in artifact.read(saved).parameters.values():
        if array.size:
            assert array.ctypes.data % artifact.ALIGNMENT == 0
            assert not array.flags.owndata
            assert not array.flags.writeable


def test_the_weights_section_is_safetensors(saved: Path) -> None:
    content = memoryview(saved.read_bytes())
    _, _, _, _, offset, _, _ = artifact._HEADER.unpack_from(content)  # pyright: ignore[reportPrivateUsage]
    manifest = artifact._MANIFEST.validate_json(bytes(content[offset:]))  # pyright: ignore[reportPrivateUsage]
    section = manifest.sections["weights"]
    found = safetensors.numpy.load(bytes(content[section.offset :][: section.bytes]))
    for name, array in example().parameters.items():
        np.testing.assert_array_equal(found.pop(name), array, strict=True)
    assert all(name.startswith("__padding__") for name in found)


def test_saving_twice_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    artifact.save(artifact.read(saved), tmp_path / "again.girih")
    assert (tmp_path / "again.girih").read_bytes() == saved.read_bytes()


def test_an_artifact_in_use_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model.girih"
    artifact.save(example(), path)
    first = artifact.read(path)
    artifact.save(dataclasses.replace(example(), parameters={}), path)
    np.testing.assert_array_equal(first.parameters["aligned"], np.arange(64))
    assert artifact.read(path).parameters == {}


def corrupt(content: bytes, kind: int, numbers: random.Random) -> bytes:
    place = numbers.randrange(len(content))
    changed = bytearray(content)
    match kind:
        case 0:
            changed[place] ^= 1 << numbers.randrange(8)
        case 1:
            del changed[place:]
        case 2:
            changed[place:place] = numbers.randbytes(numbers.randint(1, 100))
        case 3:
            length = numbers.randint(1, 200)
            changed[place : place + length] = bytes(len(changed[place : place + length]))
        case 4:
            del changed[place : place + numbers.randint(1, 64)]
        case 5:
            other = numbers.randrange(len(content))
            changed[place : place + 64] = content[other : other + 64]
        case 6:
            changed = bytearray(numbers.randbytes(place))
        case _:
            changed[place % 64] = numbers.randrange(256)  # the header, where most is decided
    return bytes(changed)


@pytest.mark.parametrize("seed", range(CORRUPTIONS))
def test_a_corrupted_artifact_is_refused(saved: Path, tmp_path: Path, seed: int) -> None:
    content = saved.read_bytes()
    numbers = random.Random(seed)
    changed = content
    while changed == content:  # zeros over zeros change nothing
        changed = corrupt(content, seed % 8, numbers)
    path = tmp_path / "damaged.girih"
    path.write_bytes(changed)
    with pytest.raises(ArtifactError, match=r"damaged\.girih") as refusal:
        artifact.read(path)
    assert "\n" not in str(refusal.value)


def test_every_flipped_byte_is_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    path = tmp_path / "flipped.girih"
    for place in range(0, len(content), 3 if len(content) > 4096 else 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        with pytest.raises(ArtifactError, match=r"flipped\.girih"):
            artifact.read(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: b"PK\x03\x04" + content[4:], "not a girih artifact"),
        (lambda content: content[:8] + b"\x02" + content[9:], "format version 2"),
        (lambda content: content[:20] + b"\x09" + content[21:], "in its header"),
        (lambda content: content[:-5], "truncated"),
        (lambda content: content[:9], "too short"),
        (lambda content: b"", "too short"),
        (lambda content: content[:80] + b"?" + content[81:], "section weights"),
        (lambda content: content[:-9] + b"?" + content[-8:], "in its manifest"),
    ],
)
def test_the_refusal_names_the_place(
    saved: Path, tmp_path: Path, change: Callable[[bytes], bytes], expected: str
) -> None:
    path = tmp_path / "bad.girih"
    path.write_bytes(change(saved.read_bytes()))
    with pytest.raises(ArtifactError, match=expected):
        artifact.read(path)


@pytest.mark.parametrize("path", ["missing.girih", "."])
def test_a_file_that_can_not_be_read(tmp_path: Path, path: str) -> None:
    with pytest.raises(ArtifactError, match="can not be read"):
        artifact.read(tmp_path / path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.girih"
    path.write_bytes(b"old")
    bad = dataclasses.replace(example(), parameters={"z": np.zeros(3, np.complex64)})
    with pytest.raises(ArtifactError, match="complex64"):
        artifact.save(bad, path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["model.girih"]


def test_saving_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        artifact.save(example(), tmp_path / "none" / "model.girih")
