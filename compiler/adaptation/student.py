"""The compiled program as a function that has gradients: its integers forward, floats backward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from girih.compiler.adaptation.integers import IntegerGraph
from girih.compiler.differentiable.graph import TorchGraph, split_states
from girih.compiler.episodes import Call, Episode
from girih.passes.base import Unit
from girih.runtime.signature import TensorSpec

Array = NDArray[Any]
Results = list[list[Tensor]]
"""Of each call of an episode, what are no states."""


class Student:
    """A float graph whose every value is that of the integers which stand for it.

    Forward, a call runs the quantized graph, and then the float one on what the integers are worth,
    where each operation's result gives way to the integer's. Backward, the gradients are those of
    the float operations at these very points, passed through the rounding as if it were not there,
    and stopped where an integer is at its limit (straight-through estimator, Bengio et al. 2013).
    """

    def __init__(
        self, floats: TorchGraph, integers: IntegerGraph, units: Mapping[str, Unit]
    ) -> None:
        self.floats = floats
        self.integers = integers
        self.units = units

    def run(
        self, episode: Episode, parameters: Mapping[str, Tensor]
    ) -> tuple[Results, dict[str, Tensor]]:
        """Results of each call, and the states that the episode leaves."""
        states = dict(self.floats.states)
        stored = {name: self._empty(name) for name in states}
        results: Results = []
        for call in episode:
            outputs, states, stored = self._call(call, states, stored, parameters)
            results.append(outputs)
        return results, states

    def _call(
        self,
        call: Call,
        states: dict[str, Tensor],
        stored: dict[str, Array],
        parameters: Mapping[str, Tensor],
    ) -> tuple[list[Tensor], dict[str, Tensor], dict[str, Array]]:
        signature = self.integers.signature(call.entry)
        specs = [spec for spec in signature.arguments if spec.state is None]
        integers = [spec.store(value) for spec, value in zip(specs, call.inputs, strict=True)]
        given = iter(integers)
        arguments = [
            next(given) if spec.state is None else stored[spec.state]
            for spec in signature.arguments
        ]
        found, values = self.integers.call(call.entry, arguments)
        _, stored = split_states(found, [spec.state for spec in signature.results], stored)

        def replace(key: str, value: Tensor) -> Tensor:
            if key not in values:
                return value
            return straight_through(value, values[key], self.units.get(key))

        inputs = tuple(_worth(spec, array) for spec, array in zip(specs, integers, strict=True))
        outputs, states = self.floats.run(Call(call.entry, inputs), states, parameters, replace)
        return outputs, states, stored

    def _empty(self, state: str) -> Array:
        for entry in self.floats.entries:
            signature = self.integers.signature(entry)
            for spec in (*signature.arguments, *signature.results):
                if spec.state == state:
                    return np.zeros(spec.shape, np.dtype(spec.stored))
        raise KeyError(state)


def _worth(spec: TensorSpec, stored: Array) -> Tensor:
    return torch.from_numpy(np.array(spec.restore(stored)))


def straight_through(value: Tensor, stored: Tensor, unit: Unit | None) -> Tensor:
    """What stored integers are worth, with the gradient of the float value that they stand for.

    What is stored as floats, on the host, is taken as it is.
    """
    if stored.is_floating_point():
        return cast(Tensor, _StraightThrough.apply(value, stored, None))
    assert unit is not None
    scale: Tensor = torch.tensor(unit.scale, dtype=torch.float32)
    if unit.factor is not None:
        scale = scale * torch.from_numpy(unit.factor).float()
    worth = stored.float().sub_(unit.offset).mul_(scale)
    if not value.requires_grad:
        return worth
    limits = torch.iinfo(stored.dtype)
    least, largest = (limits.min - unit.offset) * scale, (limits.max - unit.offset) * scale
    return cast(Tensor, _StraightThrough.apply(value, worth, _inside(value, least, largest)))


def _inside(value: Tensor, least: Tensor, largest: Tensor) -> Tensor | None:
    """Where a value is between limits; None where all of it is, as most are."""
    if value.numel() and least.ndim == 0:
        lowest, highest = value.detach().aminmax()
        if lowest >= least and highest <= largest:
            return None
    return (value >= least) & (value <= largest)


class _StraightThrough(torch.autograd.Function):
    """Another tensor's values, with the first one's gradient, where it is inside."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, worth: Tensor, inside: Tensor | None) -> Tensor:
        ctx.save_for_backward(*(() if inside is None else (inside,)))
        return worth.view_as(worth)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        inside = ctx.saved_tensors
        return gradient * inside[0] if inside else gradient, None, None
