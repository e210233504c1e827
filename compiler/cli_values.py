"""Arrays from and to files, for `girih run` and `girih simulate`."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.compiler.files import replacing
from girih.runtime.errors import InputError
from girih.runtime.signature import Signature, TensorSpec

Array = NDArray[Any]


def read_arrays(path: Path) -> dict[str, Array]:
    """Arrays of a .npz file by name, or the one of a .npy file under the name "".

    Raises `InputError` for a file that is missing or no such file.
    """
    try:
        content = np.load(path, allow_pickle=False)  # a pickle could run anything
        if isinstance(content, np.ndarray):
            return {"": content}
        with content:
            return {name: content[name] for name in content.files}
    except OSError as error:
        raise InputError(f"input {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"input {path}: not a .npz or .npy file of plain arrays") from error


def gather(signature: Signature, paths: Sequence[Path], random: bool) -> list[Array]:
    """All arguments of an entry point from files, in order.

    An .npz whose names are all names of arguments gives those; other arrays fill the remaining
    arguments in order. States that no file gives are zeros; other arguments are made up if
    `random`, and missed otherwise (`InputError`).
    """
    names = [spec.name for spec in signature.arguments]
    named: dict[str, Array] = {}
    positional: list[Array] = []
    for path in paths:
        arrays = read_arrays(path)
        if set(arrays) <= set(names):
            named |= arrays
        else:
            positional += arrays.values()
    open_names = [name for name in names if name not in named]
    if len(positional) > len(open_names):
        raise InputError(
            f"found {len(named) + len(positional)} arguments, expected {len(names)}: "
            f"{', '.join(names)}"
        )
    # Arguments come before states in the eyes of a user, wherever states stand in the signature.
    states = {spec.name for spec in signature.arguments if spec.state is not None}
    open_names.sort(key=lambda name: name in states)
    named |= zip(open_names, positional, strict=False)
    missing = [name for name in names if name not in named and name not in states]
    if missing and not random:
        raise InputError(
            f"no value for {', '.join(missing)}: give --input FILE, or --random to make one up"
        )
    generator = np.random.default_rng(0)
    return [
        named[spec.name] if spec.name in named else _made_up(spec, generator)
        for spec in signature.arguments
    ]


def _made_up(spec: TensorSpec, generator: np.random.Generator) -> Array:
    """Normal floats; zeros for states and integers, which may be indices with a narrow range."""
    if spec.state is not None:
        return np.zeros(spec.shape, np.dtype(spec.stored))
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(spec.shape).astype(dtype)
    return np.ones(spec.shape, dtype) if dtype.kind == "b" else np.zeros(spec.shape, dtype)


def write_arrays(path: Path, signature: Signature, outputs: Sequence[Array]) -> None:
    """Write results to an .npz file under their names."""
    named = {spec.name: value for spec, value in zip(signature.results, outputs, strict=True)}
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **named)
