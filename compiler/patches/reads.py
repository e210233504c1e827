"""Which calls need the values of tensors, and what they give once the values are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore[reportPrivateUsage]

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

_RESHAPED = frozenset(
    {
        torch.reshape,
        Tensor.reshape,
        Tensor.view,
        Tensor.expand,
        Tensor.repeat,
        Tensor.new_zeros,
        Tensor.new_ones,
        Tensor.new_empty,
        Tensor.unflatten,
    }
)
"""What takes a tensor and then sizes, for which models sometimes pass tensors."""

_SIZED = frozenset({torch.arange, torch.zeros, torch.ones, torch.full, torch.empty, torch.linspace})
"""What takes numbers, for which models sometimes pass tensors."""

_RESIZED = frozenset({nn.functional.interpolate, nn.functional.pad})
"""What takes a tensor and sizes by place or by name."""


def tensors_read(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
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
    if func is torch.arange and _starts_with_tensor(args):
        return [args[1] - args[0]]
    if func in _RESHAPED:
        return [value for value in _numbers(args[1:]) if _is_number(value)]
    if func in _SIZED:
        return [value for value in _numbers(args) if isinstance(value, Tensor)]
    if func in _RESIZED:
        sizes = [*args[1:], *kwargs.values()]
        return [value for value in _numbers(sizes) if isinstance(value, Tensor)]
    if func is Tensor.__getitem__:
        return [read for part in _parts(args[1]) for read in _read_by_part(part)]
    return []


def _starts_with_tensor(args: Sequence[Any]) -> bool:
    return len(args) == 2 and isinstance(args[0], Tensor)


def _read_by_part(part: Any) -> list[Tensor]:
    """What one part of an index needs: a mask, the length of a span, or where a slice ends."""
    if _is_mask(part):
        return [part]
    if not isinstance(part, slice):
        return []
    if _is_span(part):
        return [part.stop - part.start]
    return [end for end in (part.start, part.stop, part.step) if _is_number(end)]


def _is_span(part: Any) -> bool:
    """Whether a slice has a start that may be any as long as the length is the same."""
    return (
        isinstance(part, slice)
        and _is_number(part.start)
        and part.stop is not None
        and part.step is None
    )


def with_known(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], known: list[Tensor], result: Any
) -> Any:
    """The call's result when the tensors that it reads have known values."""
    if func in _READS:
        return result
    if func in (torch.masked_select, Tensor.masked_select):
        sizes = torch.broadcast_shapes(args[0].shape, known[0].shape)
        return args[0].expand(sizes)[_positions(known[0], sizes)]
    if func in (torch.repeat_interleave, Tensor.repeat_interleave):
        if "repeats" not in kwargs and len(args) == 1:
            return _constant(result)
        source, *_ = args
        dim = kwargs.get("dim", args[2] if len(args) > 2 else None)
        source = source.flatten() if dim is None else source
        dim = 0 if dim is None else dim
        length = source.shape[dim]
        with _disable_current_modes():
            index = torch.arange(length).repeat_interleave(known[0].expand(length))
        return source.index_select(dim, index)
    if func is torch.arange and _starts_with_tensor(args):
        return torch.arange(_number(known[0]), **kwargs) + args[0]
    if func in _RESHAPED:
        numbers = iter(known)
        return func(args[0], *_map_numbers(args[1:], lambda _: _number(next(numbers))), **kwargs)
    if func in _SIZED:
        numbers = iter(known)
        return func(*_map_numbers(args, lambda _: _number(next(numbers))), **kwargs)
    if func in _RESIZED:
        numbers = iter(known)
        sizes = _map_numbers((*args[1:], *kwargs.values()), lambda _: _number(next(numbers)))
        places = len(args) - 1
        return func(args[0], *sizes[:places], **dict(zip(kwargs, sizes[places:], strict=True)))
    if func is Tensor.__getitem__:
        return _known_item(args[0], _parts(args[1]), iter(known))
    return _constant(result)


def _known_item(source: Tensor, parts: Sequence[Any], known: Iterator[Tensor]) -> Tensor:
    """`source[parts]`, with masks as the positions that they show and spans of known lengths."""
    index: list[Any] = []
    axis = 0
    for place, part in enumerate(parts):
        if part is None:
            index.append(part)
        elif isinstance(part, EllipsisType):
            axis = source.ndim - sum(_axes(each) for each in parts[place + 1 :])
            index.append(part)
        elif _is_mask(part):
            index.extend(_positions(next(known)))
            axis += part.ndim
        elif _is_span(part):
            rows = torch.arange(_number(next(known))) + part.start
            source = source.index_select(axis, rows)
            index.append(slice(None))
            axis += 1
        elif isinstance(part, slice):
            ends = (part.start, part.stop, part.step)
            index.append(slice(*(_number(next(known)) if _is_number(e) else e for e in ends)))
            axis += 1
        elif _is_number(part):
            rows = torch.remainder(part, source.shape[axis]).reshape(1)
            source = source.index_select(axis, rows)
            index.append(0)
            axis += 1
        else:
            index.append(part)
            axis += 1
    return source[tuple(index)]


def _axes(part: Any) -> int:
    """Number of axes of the source that one part of an index takes."""
    if part is None:
        return 0
    return part.ndim if _is_mask(part) else 1


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


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


def _positions(mask: Tensor, sizes: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    """Where a known mask, expanded to some sizes, is true: constants of the traced program."""
    with _disable_current_modes():
        return tuple(mask.bool().expand(sizes or mask.shape).nonzero(as_tuple=True))


def _constant(value: Any) -> Any:
    """Recorded tensors as constants of the traced program."""
    if isinstance(value, tuple | list):
        return type(value)(_constant(each) for each in value)
    with _disable_current_modes():
        return value.detach().clone() if isinstance(value, Tensor) else value


def without_values(func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Another call for the same result, where torch's own needs values that it could do without."""
    if func is Tensor.__getitem__ and any(_is_number(part) for part in _parts(args[1])):
        return lambda source, index: _known_item(source, _parts(index), iter(())), args
    if func is Tensor.__setitem__ and _mask_of_rows(args[0], args[1]) is not None:
        return _store_by_mask, args
    if func in (torch.tensor, torch.as_tensor) and args and _holds_tensors(args[0]):
        return _stacked, args
    return func, args


def _mask_of_rows(target: Tensor, index: Any) -> Tensor | None:
    """The mask in `target[mask]` and `target[mask, ...]`."""
    mask, *rest = _parts(index)
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
