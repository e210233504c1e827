"""What calibration is given: inputs by entry, or episodes; checked, and as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from girih.compiler.entries import Entry
from girih.compiler.episodes import Call, Episode
from girih.compiler.precision import widened
from girih.passes.base import Compilation
from girih.runtime.errors import CompilationError

Example = Sequence[Any] | Mapping[str, Any]
Calibration = Sequence[Example] | Mapping[str, Sequence[Example]] | Sequence[Episode]


def set_calibration(
    compilation: Compilation, entries: Mapping[str, Entry], calibration: Calibration | None
) -> None:
    """Give the `calibrate` pass its inputs; raises `CompilationError` for those that do not fit.

    An entry of which there is none runs on its example inputs.
    """
    episodes = _episodes(calibration)
    if episodes is None:
        compilation.calibration = _examples(entries, cast(Any, calibration))
        return
    called = {call.entry for episode in episodes for call in episode}
    unknown = called - set(entries)
    if unknown:
        raise CompilationError(
            f"calibration calls {', '.join(sorted(unknown))}, expected {', '.join(entries)}"
        )
    compilation.episodes = [
        [(call.entry, _inputs(call, entries[call.entry])) for call in episode]
        for episode in episodes
    ]
    others = {name: entry for name, entry in entries.items() if name not in called}
    compilation.calibration = _examples(others, {})


def _episodes(calibration: Calibration | None) -> list[Episode] | None:
    """The episodes that a calibration is, or None for one of inputs."""
    if calibration is None or isinstance(calibration, Mapping) or not calibration:
        return None
    first = calibration[0]
    if not isinstance(first, Sequence) or not first or not isinstance(first[0], Call):
        return None
    return [tuple(cast(Episode, episode)) for episode in calibration]


def _inputs(call: Call, entry: Entry) -> list[NDArray[Any]]:
    expected = [
        tuple(tensor.shape)
        for index, tensor in enumerate(entry.tensors)
        if index not in entry.reads
    ]
    found = [tuple(tensor.shape) for tensor in call.inputs]
    if found != expected:
        raise CompilationError(
            f"a call of entry {call.entry!r} has inputs of shapes {found}, expected {expected}"
        )
    return [widened(tensor).detach().numpy() for tensor in call.inputs]


def _examples(
    entries: Mapping[str, Entry],
    calibration: Sequence[Example] | Mapping[str, Sequence[Example]] | None,
) -> dict[str, list[list[NDArray[Any]]]]:
    """The inputs to calibrate each entry with, checked."""
    if calibration is None:
        calibration = {}
    if not isinstance(calibration, Mapping):
        if len(entries) != 1:
            raise CompilationError("with several entries, calibration is a mapping by entry")
        calibration = {next(iter(entries)): calibration}
    unknown = set(calibration) - set(entries)
    if unknown:
        raise CompilationError(
            f"calibration names {', '.join(sorted(unknown))}, expected {', '.join(entries)}"
        )
    examples: dict[str, list[list[NDArray[Any]]]] = {}
    for name, entry in entries.items():
        tuples = calibration.get(name) or [entry.tensors]
        examples[name] = [_example(name, entry, values) for values in tuples]
    return examples


def _example(
    name: str, entry: Entry, values: Sequence[Any] | Mapping[str, Any]
) -> list[NDArray[Any]]:
    if isinstance(values, Tensor | np.ndarray):
        values = (values,)
    elif isinstance(values, Mapping) and isinstance(entry.inputs, Mapping):
        values = [values[key] for key, v in entry.inputs.items() if isinstance(v, Tensor)]
    arrays = [
        widened(value).detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        for value in values
    ]
    found = [tuple(array.shape) for array in arrays]
    expected = [tuple(value.shape) for value in entry.tensors]
    if found != expected:
        raise CompilationError(
            f"calibration of entry {name!r} has shapes {found}, expected {expected}"
        )
    return arrays
