"""One function's rewriting from float to integers: values, seams, the function's door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects import mfm
from girih.dialects.arithmetic import packed_columns
from girih.dialects.mfm.base import element, shape
from girih.dialects.mfm.hollow import elementwise, hollow, is_hollow, once, same
from girih.passes.base import Compilation, Unit
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.quantization import weights
from girih.passes.quantization.groups import pack_rows
from girih.passes.quantization.plan import Group, Plan, is_float_tensor, is_quantizable, is_weight
from girih.passes.quantization.rules import Precisions
from girih.passes.states import state_of
from girih.passes.statistics import STATISTICS, argument_key
from girih.passes.torch_to_mfm.rewriter import float_attribute, integer_attribute
from girih.runtime.errors import CompilationError

SCALE = "mfm.scale"
STANDS_FOR = "mfm.stands_for"
"""Attribute of an operation of a quantized function: the key of the float value that its result
takes the place of."""

Rule = Callable[["FunctionQuantizer", Any], ir.Value]
"""Builds the integer operation in front of a float one; returns its result."""
ExactRule = Callable[["FunctionQuantizer", Any], ir.Value | None]
"""Builds a float value that has the same bits everywhere, from integers; None where it cannot."""


class FunctionQuantizer:
    """Rewrites one function by the rules for each kind of operation."""

    def __init__(
        self,
        function: func.FuncOp,
        plan: Plan,
        compilation: Compilation,
        rules: Mapping[type, Rule],
        exact_rules: Mapping[type, ExactRule],
        precisions: Precisions,
        compensates: bool,
        tables: int,
        notes: bool,
    ) -> None:
        self.precisions, self.compensates, self.tables = precisions, compensates, tables
        self.notes = notes
        self.rules = rules
        self.exact_rules = exact_rules
        self.function = function
        self.plan = plan
        self.compilation = compilation
        self.integers: dict[ir.Value, ir.Value] = {}
        """Integer counterpart of each quantized float value."""
        self.floats: set[ir.Value] = set()
        """Those that are computed in float: float readers take them as they are."""
        self.halves: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
        """High and low bytes of integers of 16 bits that products read."""
        self.groups: dict[ir.Value, Group] = {}

    def run(self) -> None:
        """Rewrite the function in place."""
        block = self.function.entry_block
        operations = list(block.operations)
        for value in block.arguments:
            self._note(value)
        for op in operations:
            for result in op.results:
                self._note(result)
        argument_scales = self._retype_arguments(block)
        result_scales: list[float | None] = []
        for op in operations:
            with ir.InsertionPoint(op), op.location:
                if isinstance(op, func.ReturnOp):
                    result_scales = self._return(op)
                elif is_quantizable(op):
                    self.integers[op.result] = self.rules[type(op)](self, op)
                    self._stands_for(op, self.integers[op.result], self.group(op))
                elif not isinstance(op, mfm.ParameterOp) and not self._stay_exact(op):
                    self._stay_float(op)
        erase_unused(block)
        self._set_signature(argument_scales, result_scales)

    def _stands_for(self, op: ir.OpView, value: ir.Value, group: Group | None) -> None:
        """Note which float operation's result a value is, and, of integers, what they are worth."""
        if self.notes and STATISTICS in op.operation.attributes:
            key = op.operation.attributes[STATISTICS]
            value.owner.attributes[STANDS_FOR] = key
            if group is not None:
                self._note_unit(key.value, group)

    def _note_unit(self, key: str, group: Group) -> None:
        unit = Unit(group.scale, group.factor, group.offset, group.maximum, group.below)
        self.compilation.units.setdefault(key, unit)

    def _note(self, value: ir.Value) -> None:
        if is_float_tensor(value):
            try:
                self.groups[value] = self.plan.group(value)
            except KeyError:
                return

    # ---- the function's door ----

    def _retype_arguments(self, block: ir.Block) -> list[float | None]:
        scales: list[float | None] = []
        count = len(block.arguments)
        for index in range(count):
            old = block.arguments[index]
            group = self.groups.get(old)
            if group is None:
                new = block.add_argument(old.type, old.location)
                old.replace_all_uses_with(new)
                scales.append(None)
            else:
                new = block.add_argument(self._type(old, group.bits), old.location)
                self.integers[old] = new
                scales.append(group.scale)
                if self.notes:
                    self._note_unit(argument_key(self.function, index), group)
        self._old_arguments = count
        return scales

    def _return(self, op: func.ReturnOp) -> list[float | None]:
        scales: list[float | None] = []
        for index, value in enumerate(op.operands):
            is_state = state_of(self.function, "res_attrs", index) is not None
            if value in self.integers and (is_state or value not in self.floats):
                op.operands[index] = self.integers[value]
                scales.append(self.groups[value].scale)
            else:
                scales.append(None)
        return scales

    def _set_signature(
        self, argument_scales: list[float | None], result_scales: list[float | None]
    ) -> None:
        block = self.function.entry_block
        for _ in range(self._old_arguments):
            block.erase_argument(0)
        returned = block.operations[len(block.operations) - 1]
        signature = ir.FunctionType.get(
            [argument.type for argument in block.arguments],
            [value.type for value in returned.operands],
        )
        attributes = self.function.attributes
        attributes["function_type"] = ir.TypeAttr.get(signature)
        for side, scales in (("arg_attrs", argument_scales), ("res_attrs", result_scales)):
            known = (
                list(attributes[side])
                if side in attributes
                else [ir.DictAttr.get({})] * len(scales)
            )
            entries = [
                ir.DictAttr.get(
                    {item.name: item.attr for item in entry}
                    | ({} if scale is None else {SCALE: float_attribute(scale)})
                )
                for entry, scale in zip(known, scales, strict=True)
            ]
            attributes[side] = ir.ArrayAttr.get(entries)

    # ---- values ----

    def _type(self, value: ir.Value, bits: int) -> ir.RankedTensorType:
        return ir.RankedTensorType.get(list(shape(value)), ir.IntegerType.get_signless(bits))

    def result_type(self, op: ir.OpView) -> ir.RankedTensorType:
        """Integer type of an operation's result."""
        return self._type(op.results[0], self.group(op).bits)

    def group(self, op: ir.OpView) -> Group:
        """Group of an operation's result."""
        return self.groups[op.results[0]]

    def integer(self, value: ir.Value, bits: int) -> ir.Value:
        """The integer counterpart of a float value at a width; seams are made where needed."""
        if is_weight(value):
            return self.operand(value, self._own(value, bits))
        if value not in self.integers:
            raise CompilationError(f"no range is known of {value}")
        number = self.integers[value]
        width = 8 if element(number) == "i8" else 16
        if width == bits:
            return number
        # Between 8 and 16 bits the whole range is kept: the scales' ratio is that of the maxima.
        multiplier, shift = weights.multiplier(self.scale(value, width) / self.scale(value, bits))
        return mfm.RescaleOp(
            x=number,
            multiplier=integer_attribute(multiplier),
            shift=integer_attribute(shift),
            result=self._type(value, bits),
        ).result

    def operand(self, value: ir.Value, group: Group) -> ir.Value:
        """The integer counterpart, at the group's own width and scale, of a value or a weight."""
        if not is_weight(value):
            return self.integer(value, group.bits)
        limit = 127 if group.bits == 8 else 32767
        integers = np.clip(np.rint(self.weight(value) / group.scale), -limit - 1, limit)
        dtype = np.dtype(f"int{group.bits}")
        return self.parameter(f"{self.weight_name(value)}.int{group.bits}", integers.astype(dtype))

    def constant(self, value: ir.Value, function: np.ufunc = np.positive) -> tuple[ir.Value, Group]:
        """A function of a weight, the weight itself where none is given, at a scale of its own.

        As int16, or as the recipe has tables.
        """
        array = elementwise(function, self.weight(value))
        bits = self.tables if sum(size > 1 for size in array.shape) > 1 else 16
        group = Group(float(np.abs(once(array)).max()), {bits}, {bits})
        integers = weights.quantize_all(array, group.scale, bits)
        return self.parameter(f"{self.weight_name(value)}.int{bits}", integers), group

    def real(self, value: ir.Value) -> ir.Value:
        """The float value as a float reader sees it."""
        if value not in self.integers or value in self.floats:
            return value
        group = self.groups[value]
        if group.factor is not None or group.offset:
            raise CompilationError("a smoothed value, or one with an offset, has a float reader")
        return mfm.DequantizeOp(
            x=self.integers[value], scale=float_attribute(group.scale), result=value.type
        ).result

    def either(self, value: ir.Value) -> tuple[ir.Value, Group]:
        """A value's counterpart at the width that it has, or a weight as int16; its group."""
        if value in self.integers:
            return self.integers[value], self.groups[value]
        return self.constant(value)

    def scale(self, value: ir.Value, bits: int) -> float:
        """Scale of a float value's counterpart, or of a weight's, at a width."""
        if is_weight(value):
            return self._own(value, bits).scale
        return self.at_width(self.groups[value], bits).scale

    def _own(self, weight: ir.Value, bits: int) -> Group:
        return Group(float(np.abs(once(self.weight(weight))).max()), {bits}, {bits})

    def at_width(self, group: Group, bits: int) -> Group:
        """The group as a consumer that demands a width sees it."""
        if group.bits == bits:
            return group
        return Group(group.maximum, {bits}, {bits}, group.members, group.factor)

    def weight(self, value: ir.Value) -> NDArray[Any]:
        """Array behind a weight, in double precision."""
        array = self.compilation.parameters[self.weight_name(value)]
        return elementwise(lambda each: each.astype(np.float64), array)

    def weight_name(self, value: ir.Value) -> str:
        """Name of a weight."""
        owner = value.owner
        if isinstance(owner, ir.Block) or not isinstance(owner.opview, mfm.ParameterOp):
            raise CompilationError("only weights known at compile time can be quantized")
        return owner.opview.parameter.value

    def parameter(self, name: str, array: NDArray[Any]) -> ir.Value:
        """A reference to a new weight under a name that no other array has."""
        known = self.compilation.parameters.get(name)
        while known is not None and not same(known, array):
            name += "_"
            known = self.compilation.parameters.get(name)
        self.compilation.parameters[name] = array
        bits = ir.IntegerType.get_signless(8 * array.dtype.itemsize)
        result = ir.RankedTensorType.get(array.shape, bits)
        return mfm.ParameterOp(parameter=ir.StringAttr.get(name), result=result).result

    def bits(self, weight: ir.Value) -> int:
        """4 or 8, as the recipe says; 8 where rows are no whole groups of 4 bits."""
        return self.precisions.bits(self.weight_name(weight), shape(weight)[-1])

    def packed(
        self, name: str, array: NDArray[Any], row_scale: NDArray[Any], factor: NDArray[Any] | None
    ) -> NDArray[Any]:
        """A weight (N, K) whose inputs are divided by `factor`, as packed groups."""
        if is_hollow(array):
            return hollow((len(array), packed_columns(array.shape[1])), np.dtype(np.int8), 1)
        correlation = self.compilation.correlations.get(name)
        if correlation is not None and factor is not None:
            correlation = correlation / np.outer(factor, factor)
        return pack_rows(array, row_scale, correlation, self.compensates)

    def label(self, op: ir.OpView) -> str:
        """A name for what belongs to one operation: its module's path where it has one."""
        location = op.location
        name = location.name_str if isinstance(location, ir.NameLoc) else op.operation.name
        return f"{self.function.name.value}.{name}"

    def _stay_exact(self, op: ir.OpView) -> bool:
        """Compute a float result from integers, where a plain one depends on an order of sums."""
        rule = self.exact_rules.get(type(op))
        value = None if rule is None else rule(self, op)
        if value is None:
            return False
        result = op.results[0]
        self._stands_for(op, value, None)
        self.floats.add(result)
        self.integers[result] = self._quantized(value, self.groups[result])
        result.replace_all_uses_with(value)
        # The old value stays the key under which readers look the new one up.
        for table in (self.integers, self.groups):
            table[value] = table[result]
        self.floats.add(value)
        return True

    def _quantized(self, value: ir.Value, group: Group) -> ir.Value:
        return mfm.QuantizeOp(
            x=value,
            inverse_scale=float_attribute(float(np.float32(1 / group.scale))),
            result=self._type(value, group.bits),
        ).result

    def _stay_float(self, op: ir.OpView) -> None:
        for index, operand in enumerate(op.operands):
            op.operation.operands[index] = self.real(operand)
        for result in op.results:
            if result in self.groups:
                self._stands_for(op, result, None)
                self.floats.add(result)
                with ir.InsertionPoint.after(op):
                    self.integers[result] = self._quantized(result, self.groups[result])
