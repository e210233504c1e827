"""Weights as a safetensors file, written as a stream and read without a copy.

The format is https://github.com/huggingface/safetensors; its own writer joins all tensors in
memory first and aligns to 8 bytes. Here each array starts at a multiple of 64 bytes, which lets
IREE and SIMD code use it where it lies. The format allows no holes, so the bytes between arrays
are tensors too, with names that begin with ``__padding__``.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from girih.runtime.errors import ArtifactError

Array = NDArray[Any]

ALIGNMENT = 64
_PADDING = "__padding__"
_RESERVED = (_PADDING, "__metadata__")
_LENGTH = struct.Struct("<Q")

_DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
_NUMPY = {
    code: np.dtype(bfloat16) if name == "bfloat16" else np.dtype(name).newbyteorder("<")
    for name, code in _DTYPES.items()
}


class _Tensor(TypedDict):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_TENSORS = TypeAdapter(dict[str, _Tensor])


class WeightsError(Exception):
    """What is wrong with a weights section."""


def encode(parameters: Mapping[str, Array]) -> Iterator[memoryview | bytes]:
    """The pieces of a safetensors file; an array is copied only if it is not contiguous."""
    tensors: dict[str, _Tensor] = {}
    offset = 0
    for name, array in parameters.items():
        code = _DTYPES.get(array.dtype.name)
        if code is None or name.startswith(_RESERVED):
            raise ArtifactError(f"weight {name!r} of dtype {array.dtype} can not be saved")
        end = offset + array.nbytes
        tensors[name] = _Tensor(dtype=code, shape=list(array.shape), data_offsets=(offset, end))
        offset = end + -end % ALIGNMENT
        if offset != end:
            tensors[f"{_PADDING}{end}"] = _Tensor(
                dtype="U8", shape=[offset - end], data_offsets=(end, offset)
            )
    header = json.dumps(tensors, separators=(",", ":")).encode()
    header += b" " * (-(_LENGTH.size + len(header)) % ALIGNMENT)
    yield _LENGTH.pack(len(header)) + header
    for array in parameters.values():
        if array.nbytes:
            little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
            yield little.reshape(-1).view(np.uint8).data
            yield bytes(-array.nbytes % ALIGNMENT)


def decode(content: memoryview) -> dict[str, Array]:
    """Arrays by name, read-only views of `content`.

    Raises:
        WeightsError: the content is no such file, or a tensor lies outside it.
    """
    if len(content) < _LENGTH.size:
        raise WeightsError("has weights without a header")
    start = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    if start > len(content):
        raise WeightsError(f"has a weights header of {start} bytes, beyond the end")
    try:
        header = json.loads(bytes(content[_LENGTH.size : start]))
        header.pop("__metadata__", None)  # other writers' notes
        tensors = _TENSORS.validate_python(header)
    except (ValueError, AttributeError, ValidationError) as error:
        raise WeightsError("has a weights header that is not safetensors") from error
    arrays: dict[str, Array] = {}
    for name, tensor in tensors.items():
        if not name.startswith(_PADDING):
            arrays[name] = _view(content[start:], name, tensor)
    return arrays


def _view(data: memoryview, name: str, tensor: _Tensor) -> Array:
    dtype, shape = _NUMPY.get(tensor["dtype"]), tuple(tensor["shape"])
    begin, end = tensor["data_offsets"]
    if dtype is None or min(shape, default=0) < 0:
        raise WeightsError(f"has weight {name!r} of type {tensor['dtype']} {list(shape)}")
    count = 1
    for extent in shape:
        count *= extent  # in Python: a product in int64 could wrap
    if not 0 <= begin <= end <= len(data) or end - begin != count * dtype.itemsize:
        raise WeightsError(f"has weight {name!r} at {begin} to {end}, which does not fit")
    return np.frombuffer(data[begin:end], dtype).reshape(shape)


def read_safetensors(path: str | Path, *, private: bool = False) -> dict[str, Array]:
    """Arrays of any safetensors file, mapped; raises `ArtifactError` naming the file.

    They are read-only, or with `private` a page is copied when it is written: the file stays.
    """
    access = mmap.ACCESS_COPY if private else mmap.ACCESS_READ
    try:
        with Path(path).open("rb") as file:
            return decode(memoryview(mmap.mmap(file.fileno(), 0, access=access)))
    except (OSError, ValueError) as error:  # ValueError: an empty file can not be mapped
        reason = getattr(error, "strerror", None) or str(error)
        raise ArtifactError(f"weights {path}: can not be read: {reason}") from error
    except WeightsError as error:
        raise ArtifactError(f"weights {path}: {error}") from error
