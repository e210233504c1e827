"""Episodes as a user gives them: checked, and as calls of the model's entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from girih.compiler.compilation import Entry
from girih.compiler.episodes import Call, Episode
from girih.runtime.errors import InputError

Episodes = Sequence[Sequence[Any]]
"""Each a sequence of `Call` or ``(entry, inputs)``; of one entry, the inputs of one call."""


def episodes_of(entries: Mapping[str, Entry], episodes: Episodes) -> list[Episode]:
    """Episodes of calls with tensors of the right shapes and types; raises `InputError`."""
    if not episodes:
        raise InputError("no episodes are given: at least one is needed")
    found: list[Episode] = []
    for number, given in enumerate(episodes):
        calls = [
            _call(entries, name, inputs, f"episode {number}")
            for name, inputs in _calls(entries, given)
        ]
        if not calls:
            raise InputError(f"episode {number} has no calls")
        found.append(tuple(calls))
    return found


def _calls(entries: Mapping[str, Entry], given: Sequence[Any]) -> list[tuple[str, Sequence[Any]]]:
    calls: list[tuple[str, Sequence[Any]]] = []
    for each in given:
        if isinstance(each, Call):
            calls.append((each.entry, each.inputs))
        elif isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str):
            calls.append(cast(tuple[str, Sequence[Any]], each))
        elif len(entries) == 1:
            return [(next(iter(entries)), given)]
        else:
            raise InputError(
                f"an episode holds a {type(each).__name__}, expected calls (entry, inputs)"
            )
    return calls


def _call(entries: Mapping[str, Entry], name: str, inputs: Sequence[Any], place: str) -> Call:
    if name not in entries:
        raise InputError(f"{place}: no entry point {name!r}, the model has {', '.join(entries)}")
    entry = entries[name]
    expected = [tensor for index, tensor in enumerate(entry.tensors) if index not in entry.reads]
    tensors = [_tensor(each, place) for each in inputs]
    shapes = [list(each.shape) for each in tensors]
    wanted = [list(each.shape) for each in expected]
    if shapes != wanted:
        raise InputError(f"{place}: inputs of {name!r} have shapes {shapes}, expected {wanted}")
    for found, model in zip(tensors, expected, strict=True):
        if not np.can_cast(_dtype(found), _dtype(model), "same_kind"):
            raise InputError(
                f"{place}: an input of {name!r} is {found.dtype}, expected {model.dtype}"
            )
    return Call(
        name,
        tuple(
            found.float() if model.is_floating_point() else found.to(model.dtype)
            for found, model in zip(tensors, expected, strict=True)
        ),
    )


def _tensor(value: Any, place: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    try:
        return torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{place}: an input is a {type(value).__name__}, expected a tensor"
        ) from error


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    wide = tensor.float() if tensor.is_floating_point() else tensor
    return wide.new_empty(0).numpy().dtype
