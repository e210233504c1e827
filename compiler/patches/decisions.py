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
from collections.abc import Callable, Generator, Iterator, Sequence
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
from torch.utils._python_dispatch import _disable_current_modes

Place = tuple[tuple[str, int], ...]
"""Where in the code something is read: functions and offsets in their bytecode, innermost first."""

_READS = frozenset(
    {
        Tensor.item,
        Tensor.tolist,
        Tensor.numpy,
        Tensor.__bool__,
        Tensor.__int__,
        Tensor.__float__,
        Tensor.__index__,
        Tensor.__contains__,
    }
)
"""What turns a tensor's values into Python's."""

_SHAPED_BY_VALUES = frozenset(
    {
        torch.nonzero,
        Tensor.nonzero,
        torch.argwhere,
        Tensor.argwhere,
        torch.unique,
        Tensor.unique,
        torch.unique_consecutive,
        Tensor.unique_consecutive,
        torch.bincount,
        Tensor.bincount,
    }
)
"""What gives a result whose shape its argument's values decide."""

_SIZED = frozenset({torch.arange, torch.zeros, torch.ones, torch.full, torch.empty, torch.linspace})
"""What takes numbers, for which models sometimes pass tensors."""

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
        read = _tensors_read(func, args, kwargs)
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
        read = _tensors_read(func, args, kwargs)
        if not read:
            func, args = _without_values(func, args)
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
        return _with_known(func, args, kwargs, [old for old, _ in known], known[0][1])

    def _guard(self, old: Tensor, new: Tensor) -> None:
        if not old.numel():
            return
        near = (new - old).abs() <= 1e-3 * old.abs() if old.is_floating_point() else None
        same = new == old if near is None else near
        self.guards.append(Guard(same.all(), _line()))


def _tensors_read(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors whose values, and not only shapes, a call needs in order to go on."""
    if func in _READS or func in _SHAPED_BY_VALUES:
        return [args[0]] if isinstance(args[0], Tensor) else []
    if func in (torch.where, Tensor.where) and len(args) == 1 and not kwargs:
        return [args[0]]
    if func in (torch.masked_select, Tensor.masked_select):
        return [args[1] if len(args) > 1 else kwargs["mask"]]
    if func in (torch.repeat_interleave, Tensor.repeat_interleave):
        repeats = kwargs.get("repeats", args[1] if len(args) > 1 else args[0])
        return [repeats] if isinstance(repeats, Tensor) else []
    if func in _SIZED:
        return [value for value in _numbers(args) if isinstance(value, Tensor)]
    if func is Tensor.__getitem__:
        return [each for each in _indices(args[1]) if _is_mask(each) or _is_number(each)]
    return []


def _with_known(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], known: list[Tensor], result: Any
) -> Any:
    """The call's result when the tensors that it reads have known values."""
    if func in _READS:
        return result
    if func in (torch.masked_select, Tensor.masked_select):
        return args[0][_positions(known[0])]
    if func in (torch.repeat_interleave, Tensor.repeat_interleave):
        if "repeats" not in kwargs and len(args) == 1:
            return _constant(result)
        dim = kwargs.get("dim", args[2] if len(args) > 2 else None)
        source = args[0].flatten() if dim is None else args[0]
        dim = 0 if dim is None else dim
        length = source.shape[dim]
        with _disable_current_modes():
            index = torch.arange(length).repeat_interleave(known[0].expand(length))
        return source.index_select(dim, index)
    if func in _SIZED:
        numbers = iter(known)
        return func(*_map_numbers(args, lambda _: _number(next(numbers))), **kwargs)
    if func is Tensor.__getitem__:
        return args[0][_known_index(args[1], iter(known))]
    return _constant(result)


def _known_index(index: Any, known: Iterator[Tensor]) -> tuple[Any, ...]:
    """The index with masks as the positions that they show, and numbers in slices as numbers."""
    parts: list[Any] = []
    for each in index if isinstance(index, tuple) else (index,):
        if _is_mask(each):
            parts.extend(_positions(next(known)))
        elif isinstance(each, slice):
            ends = (each.start, each.stop, each.step)
            parts.append(slice(*(_number(next(known)) if _is_number(e) else e for e in ends)))
        elif _is_number(each):
            parts.append(_number(next(known)))
        else:
            parts.append(each)
    return tuple(parts)


def _indices(index: Any) -> Iterator[Any]:
    for each in index if isinstance(index, tuple) else (index,):
        if isinstance(each, slice):
            yield from (each.start, each.stop, each.step)
        else:
            yield each


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.bool, torch.uint8) and value.ndim > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 0 and value.dtype != torch.bool


def _numbers(args: Sequence[Any]) -> Iterator[Any]:
    for value in args:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _map_numbers(args: Sequence[Any], function: Callable[[Tensor], Any]) -> tuple[Any, ...]:
    def known(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(known(each) for each in value)
        return function(value) if isinstance(value, Tensor) else value

    return tuple(known(value) for value in args)


def _number(tensor: Tensor) -> Any:
    with _disable_current_modes():
        return tensor.item()


def _positions(mask: Tensor) -> tuple[Tensor, ...]:
    """Where a known mask is true, as constants of the traced program."""
    with _disable_current_modes():
        return tuple(mask.bool().nonzero(as_tuple=True))


def _constant(value: Any) -> Any:
    """Recorded tensors as constants of the traced program."""
    if isinstance(value, tuple | list):
        return type(value)(_constant(each) for each in value)
    with _disable_current_modes():
        return value.detach().clone() if isinstance(value, Tensor) else value


def _without_values(func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Another call for the same result, where torch's own needs values that it could do without."""
    if func is Tensor.__setitem__ and _mask_of_rows(args[0], args[1]) is not None:
        return _store_by_mask, args
    if func in (torch.tensor, torch.as_tensor) and args and _holds_tensors(args[0]):
        return _stacked, args
    return func, args


def _mask_of_rows(target: Tensor, index: Any) -> Tensor | None:
    """The mask in `target[mask]` and `target[mask, ...]`."""
    mask, *rest = index if isinstance(index, tuple) else (index,)
    whole = all(
        part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in rest
    )
    return mask if whole and _is_mask(mask) else None


def _store_by_mask(target: Tensor, index: Any, rows: Any) -> None:
    """`target[mask] = rows`: `masked_scatter` need not know how many rows the mask shows."""
    mask = _mask_of_rows(target, index)
    assert mask is not None
    mask = mask.bool().reshape(*mask.shape, *[1] * (target.ndim - mask.ndim)).expand_as(target)
    if isinstance(rows, Tensor) and rows.numel() > 1:
        target.copy_(target.masked_scatter(mask, rows.to(target.dtype)))
    else:
        target.copy_(target.masked_fill(mask, rows))


def _holds_tensors(values: Any) -> bool:
    return isinstance(values, list | tuple) and any(
        isinstance(value, Tensor) or _holds_tensors(value) for value in values
    )


def _stacked(values: Any, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
    """A tensor of tensors and numbers, nested in lists."""
    if isinstance(values, list | tuple):
        values = torch.stack([_stacked(value) for value in values])
    return torch.as_tensor(values, dtype=dtype)


@cache
def _is_library(file: str) -> bool:
    """Whether frames of a file are no places: torch's and Python's own differ in an export."""
    torch_folder, python_folder, own_folder = _LIBRARIES
    python = file.startswith(python_folder) and "-packages" not in file
    return python or file.startswith((torch_folder, own_folder, "<"))


def _place() -> Place:
    places: list[tuple[str, int]] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if not _is_library(frame.f_code.co_filename):
            places.append((f"{frame.f_code.co_filename}:{frame.f_code.co_name}", frame.f_lasti))
        frame = frame.f_back
    return tuple(places)


def _line() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and _is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
