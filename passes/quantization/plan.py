"""Decides, for every float value, whether it becomes an integer, how wide, and at which scale.

Values that must share one scale form a group: a cache, its new rows and the updated cache; a
state written by one function and read by another; whatever only moves elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import (
    AddOp,
    AttentionOp,
    BinaryOp,
    BroadcastOp,
    CacheUpdateOp,
    ConcatenateOp,
    Conv1dOp,
    EmbeddingOp,
    GatherOp,
    GeluOp,
    LayerNormOp,
    LinearOp,
    MaskedScatterOp,
    MatmulOp,
    MultiplyScalarOp,
    PadOp,
    ParameterOp,
    PatchesOp,
    ReshapeOp,
    RmsNormOp,
    ScatterRowsOp,
    SelectOp,
    SliceOp,
    TakeOp,
    TransposeOp,
    UnaryOp,
)
from girih.dialects.mfm.activation import RAMPS
from girih.dialects.mfm.base import element
from girih.dialects.mfm.hollow import once
from girih.passes.base import Compilation, Unit
from girih.passes.functions import functions_of
from girih.passes.states import state_of
from girih.passes.statistics import STATISTICS, argument_key, named_values

STAYS_FLOAT = "mfm.stays_float"
"""Attribute of an operation that has an integer form and is better without it."""
WIDE_INPUT = "mfm.wide_input"
"""Attribute of a product with a weight that takes 16 bits: as two products of 8."""
MOVED: dict[type, Callable[[Any], list[ir.Value]]] = {
    **dict.fromkeys(
        (BroadcastOp, GatherOp, PadOp, PatchesOp, ReshapeOp, SliceOp, TakeOp, TransposeOp),
        lambda op: [op.x],
    ),
    ConcatenateOp: lambda op: list(op.parts),
    MaskedScatterOp: lambda op: [op.x, op.source],
    ScatterRowsOp: lambda op: [op.x, op.rows],
    SelectOp: lambda op: [op.lhs, op.rhs],
}
"""Operations that only move elements, and the operands that they move: one scale for all."""
PRODUCTS = (AttentionOp, Conv1dOp, LinearOp, MatmulOp)
"""What takes 8 bits, if not told to take 16; all else computes on 16."""
_LARGEST_CONSTANT = 1e4
"""A constant that is moved and larger hides what it replaces: it saturates."""
_HEADROOM = 1.25
"""Spare range of 16-bit values beyond what calibration saw: they have precision to spare."""
NORM_STEPS = 16
"""A norm's epsilon is in squares of this part of its input's unit."""
LARGEST_EPSILON = (1 << 40) - 1
"""The largest that an integer norm takes."""


@dataclass
class Group:
    """Values of one scale. `bits` is the width; `factor` an extra scale per channel, or None.

    real value = (integer - offset) x scale x factor[channel]. `below` is how far from 0 values of
    8 bits go down, where that is not as far as they go up: see `offsets`.
    """

    maximum: float = 0.0
    demands: set[int] = field(default_factory=set[int])
    offers: set[int] = field(default_factory=lambda: {8, 16})
    members: list[ir.Value] = field(default_factory=list[ir.Value])
    factor: NDArray[Any] | None = None
    below: float | None = None

    @property
    def bits(self) -> int:
        """8 where every consumer takes 8, else 16, as far as the producers can."""
        wanted = 8 if self.demands == {8} else 16
        return wanted if wanted in self.offers else min(self.offers)

    @property
    def scale(self) -> float:
        """Real value of one unit."""
        maximum = max(self.maximum, 1e-8)
        if self.bits == 16:
            return maximum * _HEADROOM / 32767
        return maximum / 127 if self.below is None else (self.below + maximum) / 255

    @property
    def offset(self) -> int:
        """The integer that stands for 0."""
        return 0 if self.below is None else round(-128 + self.below / self.scale)


class Plan:
    """Groups of all quantized values of a module."""

    def __init__(self, module: ir.Module, compilation: Compilation) -> None:
        self.compilation = compilation
        self._parent: dict[object, object] = {}
        self._functions = functions_of(module)
        values = [value for function in self._functions for value in _values(function)]
        self._readers = _readers(self._functions)
        for function in self._functions:
            self._tie(function)
        self._groups: dict[object, Group] = {}
        for value in values:
            if is_float_tensor(value) and not is_weight(value):
                group = self._groups.setdefault(self._find(value), Group())
                group.members.append(value)
        for function in self._functions:
            self._range(function)
        for group in self._groups.values():
            for value in group.members:
                self._constrain(group, value)

    def keep(self, units: Mapping[str, Unit]) -> None:
        """Take units that were chosen before, for other weights."""
        for function in self._functions:
            for key, value in named_values(function):
                unit = units.get(key)
                if unit is not None:
                    group = self.group(value)
                    group.factor, group.maximum = unit.factor, unit.maximum
                    group.below = unit.below

    @property
    def groups(self) -> Iterable[Group]:
        """All groups."""
        return self._groups.values()

    def group(self, value: ir.Value) -> Group:
        """The group of a float value."""
        return self._groups[self._find(value)]

    def is_also_multiplied(self, table: ParameterOp) -> bool:
        """Whether a lookup table is also the weight of a linear operation (tied embeddings)."""
        return LinearOp in self._readers[table.parameter.value]

    def only_multiplies(self, weight: ir.Value) -> bool:
        """Whether nothing but linear operations reads a weight."""
        if not is_weight(weight):
            return False
        return self._readers[weight.owner.opview.parameter.value] <= {LinearOp, Conv1dOp}

    def _find(self, key: object) -> object:
        while self._parent.get(key, key) != key:
            self._parent[key] = self._parent.get(self._parent[key], self._parent[key])
            key = self._parent[key]
        return key

    def _union(self, first: object, second: object) -> None:
        self._parent[self._find(first)] = self._find(second)

    def _tie(self, function: func.FuncOp) -> None:
        for index, argument in enumerate(function.entry_block.arguments):
            state = state_of(function, "arg_attrs", index)
            if state is not None:
                self._union(argument, ("state", state))
        for op in function.entry_block.operations:
            if type(op) in MOVED:
                for operand in MOVED[type(op)](op):
                    if not is_weight(operand) and is_quantizable(op):
                        self._union(op.result, operand)
            elif isinstance(op, CacheUpdateOp):
                self._union(op.result, op.cache)
                self._union(op.rows, op.cache)
            elif isinstance(op, func.ReturnOp):
                for index, operand in enumerate(op.operands):
                    state = state_of(function, "res_attrs", index)
                    if state is not None:
                        self._union(operand, ("state", state))

    def _range(self, function: func.FuncOp) -> None:
        statistics = self.compilation.statistics
        for index, argument in enumerate(function.entry_block.arguments):
            key = argument_key(function, index)
            if key in statistics and self._find(argument) in self._groups:
                group = self.group(argument)
                group.maximum = max(group.maximum, float(statistics[key].max()))
        for op in function.entry_block.operations:
            if type(op) in MOVED and is_quantizable(op):
                # A choice may leave out in calibration what it takes later.
                group = self.group(op.result)
                for operand in MOVED[type(op)](op):
                    if is_weight(operand):
                        group.maximum = max(group.maximum, self._largest(operand))
            if STATISTICS not in op.operation.attributes or not is_float_tensor(op.results[0]):
                continue
            if is_weight(op.results[0]):
                continue
            key = op.operation.attributes[STATISTICS].value
            if key in statistics and self._find(op.results[0]) in self._groups:
                group = self.group(op.results[0])
                group.maximum = max(group.maximum, float(statistics[key].max()))

    def _largest(self, weight: ir.Value) -> float:
        array = self.compilation.parameters[weight.owner.opview.parameter.value]
        largest = np.abs(once(array)).max()
        # What marks hidden elements saturates, as in `calibrate`.
        return float(largest) if largest < _LARGEST_CONSTANT else 0.0

    def _constrain(self, group: Group, value: ir.Value) -> None:
        owner = value.owner
        if not isinstance(owner, ir.Block) and is_quantizable(owner.opview):
            group.offers &= _OFFERS.get(type(owner.opview), {8, 16})
        for use in value.uses:
            user = use.owner.operation.opview
            if isinstance(user, LayerNormOp | RmsNormOp) and is_quantizable(user):
                group.maximum = max(group.maximum, _least_maximum(user.epsilon.value))
            if isinstance(user, PRODUCTS) and is_quantizable(user):
                group.demands.add(16 if WIDE_INPUT in user.operation.attributes else 8)
            elif not isinstance(user, (*MOVED, CacheUpdateOp)) or not is_quantizable(user):
                is_state = isinstance(user, func.ReturnOp) and state_of(
                    user.operation.parent.opview, "res_attrs", use.operand_number
                )
                if not is_state:
                    group.demands.add(16)


def _least_maximum(epsilon: float) -> float:
    """Of a norm's input: with a smaller unit its epsilon would not fit `LARGEST_EPSILON`."""
    unit = NORM_STEPS * math.sqrt(epsilon / LARGEST_EPSILON)
    return unit * 32767 / _HEADROOM


_OFFERS: dict[type, set[int]] = {AttentionOp: {8}, EmbeddingOp: {16}}


def _values(function: func.FuncOp) -> Iterator[ir.Value]:
    yield from function.entry_block.arguments
    for op in function.entry_block.operations:
        yield from (value for value in op.results if is_float_tensor(value))


def is_float_tensor(value: ir.Value) -> bool:
    """Whether a value is a tensor of f32 as graph-level operations have it."""
    return isinstance(value.type, ir.RankedTensorType) and element(value) == "f32"


_WEIGHTS = ("weight", "bias", "gamma", "beta", "table")
"""Operands that must be known at compile time to become integers."""


_CONDITIONS: dict[type, Callable[[Any], bool]] = {
    AddOp: lambda op: True,
    AttentionOp: lambda op: op.mask is None or element(op.mask) != "f32",
    BinaryOp: lambda op: (
        op.function.value in ("multiply", "subtract")
        or (op.function.value == "divide" and is_weight(op.rhs) and not is_weight(op.lhs))
    ),
    MatmulOp: lambda op: not (is_weight(op.lhs) and is_weight(op.rhs)),
    PadOp: lambda op: op.value.value == 0,
    UnaryOp: lambda op: op.function.value in (*RAMPS, "negate"),
}
"""What an operation must fulfil to have an integer form, where its kind is not enough."""
_KINDS = (
    *_CONDITIONS,
    *MOVED,
    CacheUpdateOp,
    Conv1dOp,
    EmbeddingOp,
    GeluOp,
    LayerNormOp,
    LinearOp,
    MultiplyScalarOp,
    RmsNormOp,
)


def is_quantizable(op: ir.OpView) -> bool:
    """Whether an operation has an integer form, and is to take it."""
    if STAYS_FLOAT in op.operation.attributes:
        return False
    if not isinstance(op, _KINDS) or not is_float_tensor(op.result):
        return False
    if not _CONDITIONS.get(type(op), lambda op: True)(op):
        return False
    operands = [getattr(op, name, None) for name in _WEIGHTS]
    return all(operand is None or is_weight(operand) for operand in operands)


def is_weight(value: ir.Value) -> bool:
    """Whether a value is known at compile time."""
    owner = value.owner
    return not isinstance(owner, ir.Block) and isinstance(owner.opview, ParameterOp)


def _readers(functions: Sequence[func.FuncOp]) -> dict[str, set[type]]:
    """Kinds of operations that read each weight, in any function, under any of its mentions."""
    readers: dict[str, set[type]] = {}
    for function in functions:
        for op in function.entry_block.operations:
            if isinstance(op, ParameterOp):
                kinds = {type(use.owner.operation.opview) for use in op.result.uses}
                readers.setdefault(op.parameter.value, set()).update(kinds)
    return readers
