"""Reader of CTranslate2's ``model.bin``: the container in which Whisper weights reach us.

Layout (little endian, CTranslate2 ``model_spec`` binary version 6): u32 version, string name of the
specification, u32 its revision, u32 count, then per variable: string name, u8 rank, u32 per
dimension, u8 dtype id, u32 byte count, the bytes; last, u32 count of aliases and two strings each.
A string is a u16 length (the closing NUL included) and its bytes.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np

from girih.runtime.errors import GirihError

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_SUPPORTED_VERSION = 6


class _Reader:
    def __init__(self, data: bytes | mmap.mmap, source: str) -> None:
        self.data = data
        self.source = source
        self.offset = 0

    def number(self, code: str) -> int:
        size = struct.calcsize("<" + code)
        if self.offset + size > len(self.data):
            raise GirihError(f"{self.source}: truncated at byte {self.offset} of {len(self.data)}")
        (value,) = struct.unpack_from("<" + code, self.data, self.offset)
        self.offset += size
        return int(value)

    def text(self) -> str:
        length = self.number("H")
        raw = self.data[self.offset : self.offset + length]
        self.offset += length
        return raw.rstrip(b"\0").decode()


def read_variables(*parts: Path) -> dict[str, np.ndarray]:
    """Return every variable of a ``model.bin``, memory-mapped where it is one file.

    ``parts`` are the pieces of one file in order (large models ship split). Raises `GirihError`
    when the file is missing, truncated or of another version.
    """
    for part in parts:
        if not part.is_file():
            raise GirihError(f"no such model file: {part}")
    source = parts[0].name
    if len(parts) == 1:
        with parts[0].open("rb") as file:
            data: bytes | mmap.mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    else:
        data = b"".join(part.read_bytes() for part in parts)
    reader = _Reader(data, source)
    version = reader.number("I")
    if version != _SUPPORTED_VERSION:
        raise GirihError(f"{source}: found version {version}, expected {_SUPPORTED_VERSION}")
    reader.text()
    reader.number("I")
    variables: dict[str, np.ndarray] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        dtype_id = reader.number("B")
        size = reader.number("I")
        if dtype_id not in _DTYPES:
            raise GirihError(f"{source}: variable {name!r} has unknown dtype id {dtype_id}")
        if reader.offset + size > len(data):
            raise GirihError(f"{source}: truncated inside variable {name!r}")
        dtype = np.dtype(_DTYPES[dtype_id])
        count = size // dtype.itemsize
        variables[name] = np.frombuffer(data, dtype, count, reader.offset).reshape(shape)
        reader.offset += size
    for _ in range(reader.number("I")):
        alias, target = reader.text(), reader.text()
        variables[alias] = variables[target]
    return variables
