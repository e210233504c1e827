"""Episodes as a user gives them: checked, before a model is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from girih.compiler.entries import Entry
from girih.compiler.episodes import Call, Episode
from girih.compiler.precision import widened
from girih.runtime.errors import InputError


def checked(entries: Mapping[str, Entry], episodes: Sequence[Sequence[Call]]) -> list[Episode]:
    """The same episodes, with inputs of the model's types; raises `InputError` for what differs."""
    if not episodes:
        raise InputError("no episodes are given: at least one is needed")
    for number, episode in enumerate(episodes):
        if not episode or not all(isinstance(call, Call) for call in episode):
            raise InputError(f"episode {number} is no sequence of girih.Call")
    return [
        tuple(_call(entries, call, f"episode {number}") for call in episode)
        for number, episode in enumerate(episodes)
    ]


def _call(entries: Mapping[str, Entry], call: Call, place: str) -> Call:
    if call.entry not in entries:
        known = ", ".join(entries)
        raise InputError(f"{place}: no entry point {call.entry!r}, the model has {known}")
    entry = entries[call.entry]
    expected = [tensor for index, tensor in enumerate(entry.tensors) if index not in entry.reads]
    found, wanted = _shapes(call.inputs), _shapes(expected)
    if found != wanted:
        raise InputError(
            f"{place}: inputs of {call.entry!r} have shapes {found}, expected {wanted}"
        )
    for given, model in zip(call.inputs, expected, strict=True):
        if not np.can_cast(_dtype(given), _dtype(model), "same_kind"):
            raise InputError(
                f"{place}: an input of {call.entry!r} is {given.dtype}, expected {model.dtype}"
            )
    types = [widened(model.dtype) for model in expected]
    inputs = zip(call.inputs, types, strict=True)
    return Call(call.entry, tuple(given.detach().to(type_) for given, type_ in inputs))


def _shapes(tensors: Sequence[Any]) -> list[list[int]]:
    return [list(each.shape) for each in tensors]


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    return widened(tensor.detach()).new_empty(0).numpy().dtype
