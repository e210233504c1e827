"""Values that a model reads from its inputs to decide what to compute: recorded, then replayed.

`torch.export` knows shapes but no values, so it stops at `grid.tolist()`, `if mask.any()` or
`pixels[mask]`. A model that reads sizes, grids and masks in that way computes the same as long as
these values are the same. So one eager run notes every value that is read; the export gets the
same answers, in the same places of the code, and the program gets a guard: one boolean which says
whether the inputs at hand lead to the same decisions.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from girih.compiler.patches.reads import tensors_read, with_known, without_values

Place = tuple[tuple[str, int], ...]
"""Where in the code something is read: functions and offsets in their bytecode, innermost first."""

_LIBRARIES = (
    str(Path(torch.__file__).parent),
    str(Path(os.__file__).parent),
    str(Path(__file__).parents[1]),
)


@dataclass
class Decisions:
    """What was read in an eager run: for each place, the tensors and what was made of them."""

    made: dict[Place, list[tuple[Tensor, Any]]] = field(
        default_factory=lambda: defaultdict[Place, list[tuple[Tensor, Any]]](list)
    )


@dataclass(frozen=True)
class Guard:
    """A boolean in the traced program, and the line of code that asked for it."""

    value: Tensor
    line: str


@contextmanager
def recorded(decisions: Decisions) -> Generator[None]:
    """Note what is read from tensors while this holds."""
    with _Recorder(decisions):
        yield


def replaying(
    forward: Callable[..., Any], decisions: Decisions, guards: list[Guard]
) -> Callable[..., Any]:
    """The function, answered from the record; its result is (result, guards), and it lists them."""

    @wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        # Traced tensors have a `tolist` of their own, which no mode hears of.
        own, FakeTensor.tolist = FakeTensor.tolist, Tensor.tolist
        try:
            with _Replayer(decisions, own) as replayer:
                result = forward(*args, **kwargs)
        finally:
            FakeTensor.tolist = own
        guards[:] = replayer.guards
        return result, [guard.value for guard in guards]

    return call


class _Recorder(TorchFunctionMode):
    def __init__(self, decisions: Decisions) -> None:
        super().__init__()
        self.decisions = decisions

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        read = tensors_read(func, args, kwargs)
        # The function may change its arguments.
        before = [tensor.detach().clone() for tensor in read]
        result = func(*args, **kwargs)
        if before:
            place = _place()
            for tensor in before:
                self.decisions.made[place].append((tensor, result))
        return result


class _Replayer(TorchFunctionMode):
    def __init__(self, decisions: Decisions, tolist: Callable[[FakeTensor], Any]) -> None:
        super().__init__()
        self.tolist = tolist
        self.waiting = {place: list(made) for place, made in decisions.made.items()}
        self.guards: list[Guard] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        read = tensors_read(func, args, kwargs)
        if not read:
            func, args = without_values(func, args)
            return func(*args, **kwargs)
        waiting = self.waiting.get(_place(), [])
        known = [waiting.pop(0) for _ in read[: len(waiting)]]
        shapes = [(old.shape, old.dtype) for old, _ in known]
        if shapes != [(new.shape, new.dtype) for new in read]:
            # The eager run did not come here, so this is torch.export's matter.
            traced = func is Tensor.tolist and isinstance(args[0], FakeTensor)
            return (self.tolist if traced else func)(*args, **kwargs)
        for (old, _), new in zip(known, read, strict=True):
            self._guard(old, new)
        return with_known(func, args, kwargs, [old for old, _ in known], known[0][1])

    def _guard(self, old: Tensor, new: Tensor) -> None:
        if not old.numel():
            return
        near = (new - old).abs() <= 1e-3 * old.abs() if old.is_floating_point() else None
        same = new == old if near is None else near
        self.guards.append(Guard(same.all(), _line()))


@cache
def _is_library(file: str) -> bool:
    """Whether frames of a file are no places: torch's and Python's own differ in an export."""
    torch_folder, python_folder, own_folder = _LIBRARIES
    python = file.startswith(python_folder) and "-packages" not in file
    return python or file.startswith((torch_folder, own_folder, "<"))


def _place() -> Place:
    places: list[tuple[str, int]] = []
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if not _is_library(frame.f_code.co_filename):
            places.append((f"{frame.f_code.co_filename}:{frame.f_code.co_name}", frame.f_lasti))
        frame = frame.f_back
    return tuple(places)


def _line() -> str:
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and _is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
