"""Everything that shrinks when some channels or heads go, in all functions of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import LinearOp, ParameterOp, SliceOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.matching import defined_by
from girih.passes.pruning.layout import Layout, take
from girih.passes.pruning.signature import set_signature
from girih.passes.pruning.ties import FixedError, segment, ties
from girih.passes.states import state_of
from girih.passes.statistics import STATISTICS, argument_key


@dataclass
class Group:
    """`count` units, and where they lie in each value that has them.

    Closed under what operations demand, under the names of weights and under the names of states:
    whoever reads one of its tensors, in any function, is in it (DepGraph, Fang et al. 2023).
    """

    count: int
    layouts: dict[ir.Value, Layout] = field(default_factory=dict[ir.Value, Layout])

    @property
    def incoming(self) -> list[LinearOp]:
        """Linear operations that make the units."""
        return [op for op in self._linears() if self._has(op.result)]

    @property
    def outgoing(self) -> list[LinearOp]:
        """Linear operations that sum over the units."""
        return [op for op in self._linears() if self._has(op.x)]

    @property
    def outgoing_weights(self) -> set[str]:
        """Names of the weights whose columns are the units."""
        return {op.weight.owner.opview.parameter.value for op in self.outgoing}

    def _has(self, value: ir.Value) -> bool:
        found = self.layouts.get(value)
        return found is not None and found.axis == len(shape(value)) - 1

    def _linears(self) -> Iterator[LinearOp]:
        for value in self.layouts:
            if defined_by(value, ParameterOp) is not None:
                for use in value.uses:
                    user = use.owner.operation.opview
                    if isinstance(user, LinearOp) and user.weight == value:
                        yield user


class Groups:
    """Finds and shrinks the groups of one module."""

    def __init__(self, module: ir.Module, compilation: Compilation) -> None:
        self.compilation = compilation
        self.functions = functions_of(module)
        self._parameters: dict[str, list[ParameterOp]] = {}
        self._states: dict[str, list[ir.Value]] = {}
        for function in self.functions:
            for index, argument in enumerate(function.entry_block.arguments):
                self._note_state(function, "arg_attrs", index, argument)
            for op in function.entry_block.operations:
                if isinstance(op, ParameterOp):
                    self._parameters.setdefault(op.parameter.value, []).append(op)
                elif isinstance(op, func.ReturnOp):
                    for index, value in enumerate(op.operands):
                        self._note_state(function, "res_attrs", index, value)

    def _note_state(self, function: func.FuncOp, side: str, index: int, value: ir.Value) -> None:
        state = state_of(function, side, index)
        if state is not None:
            self._states.setdefault(state, []).append(value)

    def grow(self, value: ir.Value, layout: Layout, count: int) -> Group:
        """The group of a value's units; raises `FixedError` where they must all stay."""
        group = Group(count)
        pending = [(value, layout)]
        while pending:
            value, layout = pending.pop()
            known = group.layouts.get(value, layout)
            if known != layout or shape(value)[layout.axis] != layout.extent(count):
                raise FixedError("one tensor has them in two orders")
            if value not in group.layouts:
                group.layouts[value] = layout
                pending += self._ties(value, layout, count)
        return group

    def _ties(
        self, value: ir.Value, layout: Layout, count: int
    ) -> Iterator[tuple[ir.Value, Layout]]:
        owner = value.owner
        if isinstance(owner, ir.Block):
            function = owner.owner
            yield from self._state(function, "arg_attrs", value.arg_number, layout)
        elif isinstance(owner.opview, ParameterOp):
            for same in self._parameters[owner.opview.parameter.value]:
                yield same.result, layout
        else:
            yield from ties(owner.opview, value, layout, count)
        for use in value.uses:
            user = use.owner.operation.opview
            if isinstance(user, func.ReturnOp):
                function = user.operation.parent.opview
                yield from self._state(function, "res_attrs", use.operand_number, layout)
            else:
                yield from ties(user, value, layout, count)

    def _state(
        self, function: func.FuncOp, side: str, index: int, layout: Layout
    ) -> Iterator[tuple[ir.Value, Layout]]:
        state = state_of(function, side, index)
        if state is None:
            what = "an argument" if side == "arg_attrs" else "a result"
            raise FixedError(f"they are seen in {what} of entry {function.name.value!r}")
        for value in self._states[state]:
            yield value, layout

    def shrink(self, group: Group, kept: NDArray[np.intp]) -> None:
        """Leave the kept units, ascending, of a group: in weights, types, states, statistics."""
        names: dict[str, str] = {}
        for value, layout in group.layouts.items():
            elements = layout.elements(kept, group.count)
            for use in value.uses:
                user = use.owner.operation.opview
                if isinstance(user, SliceOp):
                    _move_offset(user, layout, group.count, len(kept))
            self._note_fewer(value, layout, elements)
            if (view := defined_by(value, ParameterOp)) is not None:
                name = view.parameter.value
                if name not in names:
                    names[name] = self._fewer(name, elements, layout.axis)
                view.operation.attributes["parameter"] = ir.StringAttr.get(names[name])
        for value, layout in group.layouts.items():
            sizes = list(shape(value))
            sizes[layout.axis] = layout.extent(len(kept))
            value.set_type(ir.RankedTensorType.get(sizes, value.type.element_type))
        for old, new in names.items():
            self._parameters[new] = self._parameters.pop(old)
        for function in self.functions:
            set_signature(function)

    def _fewer(self, name: str, elements: NDArray[np.intp], axis: int) -> str:
        parameters = self.compilation.parameters
        new = f"{name}.pruned"
        while new in parameters:
            new += "_"
        parameters[new] = take(parameters[name], elements, axis)
        return new

    def _note_fewer(self, value: ir.Value, layout: Layout, elements: NDArray[np.intp]) -> None:
        """Keep what was observed of a value true for what is left of it."""
        key = _statistics_key(value)
        if layout.axis == len(shape(value)) - 1:
            for table in (self.compilation.statistics, self.compilation.squares):
                if key in table:
                    table[key] = take(table[key], elements, 0)
        if isinstance(value.owner, ir.Block):
            name, index = value.owner.owner.name.value, value.arg_number
            calibration = dict(self.compilation.calibration)
            calibration[name] = [
                [
                    take(array, elements, layout.axis) if number == index else array
                    for number, array in enumerate(example)
                ]
                for example in calibration.get(name, [])
            ]
            self.compilation.calibration = calibration


def _statistics_key(value: ir.Value) -> str:
    owner = value.owner
    if isinstance(owner, ir.Block):
        return argument_key(owner.owner, value.arg_number)
    return owner.attributes[STATISTICS].value if STATISTICS in owner.attributes else ""


def _move_offset(op: SliceOp, layout: Layout, count: int, kept: int) -> None:
    length = segment(op, layout, count)
    if length is not None:
        offsets = list(op.offsets)
        offsets[layout.axis] = offsets[layout.axis] // length * kept * layout.block
        op.operation.attributes["offsets"] = ir.DenseI64ArrayAttr.get(offsets)
