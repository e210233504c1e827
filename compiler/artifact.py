"""The artifact: one file that holds a compiled program, whole or not at all.

Layout, integers little-endian::

    0    magic (8 bytes), version (u32), 4 zero bytes
    16   size of the file (u64), offset (u64) and bytes (u64) of the manifest
    40   BLAKE2b-128 digest of the manifest, then BLAKE2b-64 digest of bytes 0 to 56
    64   sections, one after another, each padded with zeros to a multiple of 64 bytes
    ...  the manifest: JSON, to the end of the file

The manifest lists every section with its offset, length and digest (padding included), so each
byte of the file is under a digest and a damaged one is reported by its section. Sections:
``weights`` (see `weights.py`), ``program.vmfb`` (IREE), ``module.mlirbc`` (MLIR bytecode of the
graph) and ``kernel/NAME`` (docs/isa.md).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from girih.compiler import weights
from girih.compiler.files import replacing
from girih.runtime.errors import ArtifactError
from girih.runtime.executable import DramTensor, Entry, Executable, Kernel, Layer
from girih.runtime.target import Target

if TYPE_CHECKING:
    from girih.compiler.program import CompiledProgram

MAGIC = b"girih\x00\r\n"
VERSION = 1
ALIGNMENT = 64

# magic, version, zero, file size, manifest offset, manifest bytes, manifest digest
_HEADER = struct.Struct("<8sIIQQQ16s")
_HEADER_DIGEST = 8
_HEADER_BYTES = _HEADER.size + _HEADER_DIGEST


@dataclass(frozen=True)
class Section:
    """A run of bytes of the file; `digest` covers it and its padding."""

    offset: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class KernelRecord:
    """A kernel without its code, which has a section of its own."""

    dram: tuple[DramTensor, ...]
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Manifest:
    """All of an executable that is not bulk, and where the bulk lies."""

    entries: dict[str, Entry]
    kernels: dict[str, KernelRecord]
    recipe: str
    target: Target
    dram_bytes: int
    processor: str
    metadata: dict[str, Any]
    sections: dict[str, Section]


_MANIFEST = TypeAdapter(Manifest)


def save(executable: Executable, path: str | Path) -> None:
    """Write an artifact. The file appears under its name only when it is complete.

    Raises:
        ArtifactError: the file can not be written, or a weight has a dtype that can not be saved.
    """
    path = Path(path)
    try:
        with replacing(path) as file:
            _write(executable, file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"artifact {path}: can not be written: {reason}") from error


def load(path: str | Path) -> CompiledProgram:
    """The program of an artifact. Its weights stay in the file, mapped into memory.

    Raises:
        ArtifactError: the file is missing, damaged in any byte, or of another version.
    """
    from girih.compiler.program import CompiledProgram  # `read` alone needs no MLIR

    return CompiledProgram(read(path))


def read(path: str | Path) -> Executable:
    """The executable of an artifact, after checking every byte; raises like `load`."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < _HEADER_BYTES:
                raise _DamageError("is too short for an artifact, expected 64 bytes or more")
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _read(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArtifactError(f"artifact {path}: can not be read: {reason}") from error
    except (_DamageError, weights.WeightsError) as error:
        raise ArtifactError(f"artifact {path}: {error}") from error


class _DamageError(Exception):
    """What is wrong with a file; `read` adds its name."""


def _write(executable: Executable, file: IO[bytes]) -> None:
    bulk: dict[str, Iterable[memoryview | bytes]] = {
        "weights": weights.encode(executable.parameters),
        "program.vmfb": [executable.vmfb],
        "module.mlirbc": [executable.module],
    }
    for name, kernel in executable.kernels.items():
        bulk[f"kernel/{name}"] = [kernel.program]
    file.write(bytes(_HEADER_BYTES))
    sections = {name: _write_section(file, pieces) for name, pieces in bulk.items()}
    offset = file.tell()
    manifest = _MANIFEST.dump_json(
        Manifest(
            entries=dict(executable.entries),
            kernels={
                name: KernelRecord(kernel.dram, kernel.layers)
                for name, kernel in executable.kernels.items()
            },
            recipe=executable.recipe,
            target=executable.target,
            dram_bytes=executable.dram_bytes,
            processor=executable.processor,
            metadata=dict(executable.metadata),
            sections=sections,
        )
    )
    file.write(manifest)
    size = offset + len(manifest)
    header = _HEADER.pack(MAGIC, VERSION, 0, size, offset, len(manifest), _digest(manifest, 16))
    file.seek(0)
    file.write(header + _digest(header, _HEADER_DIGEST))


def _write_section(file: IO[bytes], pieces: Iterable[memoryview | bytes]) -> Section:
    """Streams: a section is never in memory as a whole."""
    offset, size, digest = file.tell(), 0, hashlib.blake2b(digest_size=16)
    for piece in pieces:
        file.write(piece)
        digest.update(piece)
        size += len(piece)
    padding = bytes(-size % ALIGNMENT)
    file.write(padding)
    digest.update(padding)
    return Section(offset, size, digest.hexdigest())


def _read(content: memoryview) -> Executable:
    manifest = _read_manifest(content)
    parts = _check_sections(content, manifest.sections)
    expected = {"weights", "program.vmfb", "module.mlirbc"}
    expected |= {f"kernel/{name}" for name in manifest.kernels}
    if set(parts) != expected:
        raise _DamageError(f"has sections {sorted(parts)}, expected {sorted(expected)}")
    return Executable(
        entries=manifest.entries,
        parameters=weights.decode(parts["weights"]),
        vmfb=bytes(parts["program.vmfb"]),
        module=bytes(parts["module.mlirbc"]),
        recipe=manifest.recipe,
        target=manifest.target,
        kernels={
            name: Kernel(name, bytes(parts[f"kernel/{name}"]), record.dram, record.layers)
            for name, record in manifest.kernels.items()
        },
        dram_bytes=manifest.dram_bytes,
        processor=manifest.processor,
        metadata=manifest.metadata,
    )


def _read_manifest(content: memoryview) -> Manifest:
    header = bytes(content[: _HEADER.size])
    magic, version, _, size, offset, length, digest = _HEADER.unpack(header)
    if magic != MAGIC:
        raise _DamageError(f"starts with {magic!r}, expected {MAGIC!r}: not a girih artifact")
    # Before the header's digest: another version may lay out the rest in another way.
    if version != VERSION:
        raise _DamageError(
            f"has format version {version}, this girih reads {VERSION}: compile it again"
        )
    if bytes(content[_HEADER.size : _HEADER_BYTES]) != _digest(header, _HEADER_DIGEST):
        raise _DamageError("is damaged in its header (bytes 0 to 64)")
    if size != len(content):
        raise _DamageError(
            f"has {len(content)} bytes, its header says {size}: truncated or extended"
        )
    if not _HEADER_BYTES <= offset <= offset + length == size:
        raise _DamageError(f"has its manifest at {offset} with {length} bytes, outside the file")
    text = content[offset:]
    if _digest(text, 16) != digest:
        raise _DamageError(f"is damaged in its manifest (bytes {offset} to {size})")
    try:
        manifest = _MANIFEST.validate_json(bytes(text))
    except ValidationError as error:
        raise _DamageError(
            f"has a manifest of another kind: {' '.join(str(error).split())}"
        ) from error
    end = max((_end(section) for section in manifest.sections.values()), default=_HEADER_BYTES)
    if end != offset:
        raise _DamageError(f"has sections up to {end}, but its manifest at {offset}")
    return manifest


def _check_sections(content: memoryview, sections: Mapping[str, Section]) -> dict[str, memoryview]:
    """Sections by name, after making sure that they tile the file and are undamaged."""
    parts: dict[str, memoryview] = {}
    position = _HEADER_BYTES
    for name, section in sorted(sections.items(), key=lambda item: item[1].offset):
        if section.offset != position or section.bytes < 0:
            raise _DamageError(f"has section {name} at {section.offset}, expected {position}")
        position = _end(section)
        if _digest(content[section.offset : position], 16).hex() != section.digest:
            raise _DamageError(
                f"is damaged in section {name} (bytes {section.offset} to {position})"
            )
        parts[name] = content[section.offset : section.offset + section.bytes]
    return parts


def _end(section: Section) -> int:
    return section.offset + section.bytes + -section.bytes % ALIGNMENT


def _digest(content: memoryview | bytes, size: int) -> bytes:
    return hashlib.blake2b(content, digest_size=size).digest()
