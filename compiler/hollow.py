"""Models without weights: tensors of which every element is one number in memory.

A hollow tensor has its shape, strides of 0, and takes a few bytes whatever its size. Modules on
the meta device become hollow for the time of an import, and run without multiplying anything:
what is computed from a hollow tensor is hollow, while token numbers, masks and sizes stay real, so
that a model which decides by them takes the path that it takes with weights.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_Tree = TypeVar("_Tree")

_ELEMENT = 0.37
"""What a hollow float holds: a number that no rewrite looks for, as it does for 0 and 1."""


def hollow(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor that takes the memory of one element."""
    value = _ELEMENT if dtype.is_floating_point or dtype.is_complex else 0
    return torch.full((), value, dtype=dtype, device="cpu").expand(tuple(shape))


def is_hollow(tensor: Tensor) -> bool:
    """Whether a tensor repeats one element."""
    return (
        tensor.layout is torch.strided
        and tensor.numel() > 1
        and not tensor.is_meta
        and all(
            stride == 0 or size == 1
            for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
        )
    )


def with_hollow_inputs(inputs: _Tree) -> _Tree:
    """The same inputs, those on the meta device hollow; others keep their values."""
    return pytree.tree_map_only(
        Tensor, lambda each: hollow(each.shape, each.dtype) if each.is_meta else each, inputs
    )


@contextmanager
def hollowed(modules: Sequence[nn.Module]) -> Generator[None]:
    """Give modules hollow weights, and hollow buffers for those on the meta device, meanwhile.

    Weights that modules share, they share then too. Buffers with values keep them: they are tables
    of positions and masks, which may decide what is computed.
    """
    stand_ins: dict[int, Tensor] = {}
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []

    def stand_in(tensor: Tensor) -> Tensor:
        if id(tensor) not in stand_ins:
            new = hollow(tensor.shape, tensor.dtype)
            if isinstance(tensor, nn.Parameter):
                new = nn.Parameter(new, requires_grad=False)
            stand_ins[id(tensor)] = new
        return stand_ins[id(tensor)]

    for each in dict.fromkeys(inner for module in modules for inner in module.modules()):
        # What a model keeps as a plain attribute counts too.
        tables: list[dict[str, Any]] = [vars(each), *(vars(each)[name] for name in _TABLES)]
        for table in tables:
            for name, value in list(table.items()):
                if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.is_meta):
                    replaced.append((table, name, value))
                    table[name] = stand_in(value)
    try:
        yield
    finally:
        for table, name, value in replaced:
            table[name] = value


_TABLES = ("_parameters", "_buffers")


class HollowMode(TorchDispatchMode):
    """Operations on a hollow float tensor give hollow results, and take no time."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        given = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if func.is_view or any(type(each) not in (Tensor, nn.Parameter) for each in given):
            return func(*args, **kwargs)
        if not any(is_hollow(each) and each.is_floating_point() for each in given):
            return func(*args, **kwargs)
        written = _written(func, args, kwargs)
        if written is not None:
            return written if is_hollow(written) else func(*args, **kwargs)
        try:
            shapes, named = pytree.tree_map_only(Tensor, _shape_alone, (args, kwargs))
            if named.get("device") is not None:
                named["device"] = torch.device("meta")
            results = func(*shapes, **named)
        except (NotImplementedError, RuntimeError):
            return func(*args, **kwargs)  # the shape of its result depends on values
        leaves = [each for each in pytree.tree_leaves(results) if isinstance(each, Tensor)]
        if not all(each.is_floating_point() for each in leaves):
            return func(*args, **kwargs)
        return pytree.tree_map_only(Tensor, lambda each: hollow(each.shape, each.dtype), results)


def _shape_alone(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The argument that an operation changes in place."""
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.is_write and isinstance(value, Tensor):
            return value
    out = kwargs.get("out")
    return out if isinstance(out, Tensor) else None
