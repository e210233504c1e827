"""Float mfm --> integer mfm: 8-bit weights per channel, 8-bit or 16-bit activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects import mfm
from girih.dialects.mfm.activation import gelu_table
from girih.dialects.mfm.base import element, shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.quantization import weights
from girih.passes.quantization.plan import (
    MOVES,
    Group,
    Plan,
    is_also_multiplied,
    is_float_tensor,
    is_quantizable,
    state_of,
)
from girih.passes.torch_to_mfm.rewriter import float_attribute, integer_attribute
from girih.runtime.errors import CompilationError

SCALE = "mfm.scale"


@dataclass(frozen=True)
class Quantize:
    """Replace float operations by integer ones, at the scales that `calibrate` observed.

    ```
    %y = "mfm.linear"(%x, %w, %b) : tensor<4x8xf32> ...
    -->
    %y = "mfm.integer_linear"(%x8, %w8, %p) : tensor<4x8xi8> ...
    ```
    Float arguments and results become integers too; their scale is the attribute `mfm.scale` of
    the argument or result, and the runtime converts at the door. What has no integer form stays
    float between `dequantize` and `quantize`. `smoothing` balances channels between activations
    and weights (0 = off).
    """

    name: ClassVar[str] = "quantize"
    smoothing: float = 0.5

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function; raise `CompilationError` for what was not calibrated."""
        if not compilation.statistics:
            raise CompilationError("quantize needs ranges: run the calibrate pass before it")
        plan = Plan(module, compilation, self.smoothing)
        for function in module.body.operations:
            if isinstance(function, func.FuncOp):
                _FunctionQuantizer(function, plan, compilation).run()


class _FunctionQuantizer:
    def __init__(self, function: func.FuncOp, plan: Plan, compilation: Compilation) -> None:
        self.function = function
        self.plan = plan
        self.compilation = compilation
        self.integers: dict[ir.Value, ir.Value] = {}
        """Integer counterpart of each quantized float value."""
        self.floats: set[ir.Value] = set()
        """Those that are computed in float: float readers take them as they are."""
        self.groups: dict[ir.Value, Group] = {}

    def run(self) -> None:
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
                    self.integers[op.result] = _RULES[type(op)](self, op)
                elif not isinstance(op, mfm.ParameterOp):
                    self._stay_float(op)
        erase_unused(block)
        self._set_signature(argument_scales, result_scales)

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

    def scale(self, value: ir.Value, bits: int) -> float:
        """Scale of a float value's counterpart at a width."""
        return self.at_width(self.groups[value], bits).scale

    def at_width(self, group: Group, bits: int) -> Group:
        """The group as a consumer that demands a width sees it."""
        if group.bits == bits:
            return group
        return Group(group.maximum, {bits}, {bits}, group.members, group.factor)

    def weight(self, value: ir.Value) -> NDArray[Any]:
        """Array behind a weight, in double precision."""
        return self.compilation.parameters[self.weight_name(value)].astype(np.float64)

    def weight_name(self, value: ir.Value) -> str:
        """Name of a weight."""
        owner = value.owner
        if isinstance(owner, ir.Block) or not isinstance(owner.opview, mfm.ParameterOp):
            raise CompilationError("only weights known at compile time can be quantized")
        return owner.opview.parameter.value

    def parameter(self, name: str, array: NDArray[Any]) -> ir.Value:
        """A reference to a new weight under a name that no other array has."""
        known = self.compilation.parameters.get(name)
        while known is not None and not np.array_equal(known, array):
            name += "_"
            known = self.compilation.parameters.get(name)
        self.compilation.parameters[name] = array
        bits = ir.IntegerType.get_signless(8 * array.dtype.itemsize)
        result = ir.RankedTensorType.get(array.shape, bits)
        return mfm.ParameterOp(parameter=ir.StringAttr.get(name), result=result).result

    def label(self, op: ir.OpView) -> str:
        """A name for what belongs to one operation: its module's path where it has one."""
        location = op.location
        name = location.name_str if isinstance(location, ir.NameLoc) else op.operation.name
        return f"{self.function.name.value}.{name}"

    def _stay_float(self, op: ir.OpView) -> None:
        for index, operand in enumerate(op.operands):
            if operand in self.integers and operand not in self.floats:
                group = self.groups[operand]
                if group.factor is not None:
                    raise CompilationError("a smoothed value has a float reader")
                op.operation.operands[index] = mfm.DequantizeOp(
                    x=self.integers[operand],
                    scale=float_attribute(group.scale),
                    result=operand.type,
                ).result
        for result in op.results:
            if result in self.groups:
                self.floats.add(result)
                with ir.InsertionPoint.after(op):
                    group = self.groups[result]
                    self.integers[result] = mfm.QuantizeOp(
                        x=result,
                        inverse_scale=float_attribute(float(np.float32(1 / group.scale))),
                        result=self._type(result, group.bits),
                    ).result


def _linear(quantizer: _FunctionQuantizer, op: mfm.LinearOp) -> ir.Value:
    weight, parameters = _product(quantizer, op)
    return mfm.IntegerLinearOp(
        x=quantizer.integer(op.x, 8),
        weight=weight,
        parameters=parameters,
        result=quantizer.result_type(op),
    ).result


def _conv1d(quantizer: _FunctionQuantizer, op: mfm.Conv1dOp) -> ir.Value:
    weight, parameters = _product(quantizer, op)
    return mfm.IntegerConv1dOp(
        x=quantizer.integer(op.x, 8),
        weight=weight,
        parameters=parameters,
        kernel=op.kernel,
        stride=op.stride,
        padding=op.padding,
        result=quantizer.result_type(op),
    ).result


def _product(
    quantizer: _FunctionQuantizer, op: mfm.LinearOp | mfm.Conv1dOp
) -> tuple[ir.Value, ir.Value]:
    source = quantizer.at_width(quantizer.groups[op.x], 8)
    array = quantizer.weight(op.weight)
    if source.factor is not None:
        # A convolution's weight is tap-major: each tap sees the same channels.
        array = array * np.tile(source.factor, array.shape[1] // len(source.factor))
    bias = None if op.bias is None else quantizer.weight(op.bias)
    integers, row_scale = weights.quantize_rows(array, bias, source.scale)
    name = f"{quantizer.weight_name(op.weight)}.int8"
    parameters = weights.linear_parameters(row_scale, bias, source, quantizer.group(op))
    return (
        quantizer.parameter(name, integers),
        quantizer.parameter(f"{quantizer.label(op)}.rescale", parameters),
    )


def _layer_norm(quantizer: _FunctionQuantizer, op: mfm.LayerNormOp) -> ir.Value:
    gamma, beta = quantizer.weight(op.gamma), quantizer.weight(op.beta)
    parameters, shift = weights.layer_norm_parameters(gamma, beta, quantizer.group(op))
    epsilon = math.ceil(op.epsilon.value * (16 / quantizer.scale(op.x, 16)) ** 2)
    return mfm.IntegerLayerNormOp(
        x=quantizer.integer(op.x, 16),
        parameters=quantizer.parameter(f"{quantizer.label(op)}.scales", parameters),
        epsilon=integer_attribute(min(max(epsilon, 1), (1 << 40) - 1)),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _gelu(quantizer: _FunctionQuantizer, op: mfm.GeluOp) -> ir.Value:
    source, target = quantizer.at_width(quantizer.groups[op.x], 16), quantizer.group(op)
    label = quantizer.label(op)
    multiplier, shift = weights.gelu_index(source)
    table = gelu_table(source.scale, op.approximate.value)
    parameters = weights.gelu_parameters(source, target, shape(op.x)[-1])
    return mfm.IntegerGeluOp(
        x=quantizer.integer(op.x, 16),
        parameters=quantizer.parameter(f"{label}.gelu_rescale", parameters),
        table=quantizer.parameter(f"{label}.gelu_table", table),
        index_multiplier=integer_attribute(multiplier),
        index_shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _attention(quantizer: _FunctionQuantizer, op: mfm.AttentionOp) -> ir.Value:
    scales = [quantizer.scale(value, 8) for value in (op.query, op.key, op.value)]
    score = weights.multiplier(scales[0] * scales[1] * op.scale.value * math.log2(math.e) * 256)
    output_multiplier, output_shift = weights.multiplier(scales[2] / quantizer.group(op).scale)
    return mfm.IntegerAttentionOp(
        query=quantizer.integer(op.query, 8),
        key=quantizer.integer(op.key, 8),
        value=quantizer.integer(op.value, 8),
        mask=op.mask,
        score_multiplier=integer_attribute(score[0]),
        score_shift=integer_attribute(score[1]),
        output_multiplier=integer_attribute(output_multiplier),
        # The reciprocal of the row's sum carries 8 more bits.
        output_shift=integer_attribute(output_shift + 8),
        causal=op.causal,
        result=quantizer.result_type(op),
    ).result


def _add(quantizer: _FunctionQuantizer, op: mfm.AddOp) -> ir.Value:
    numbers: list[ir.Value] = []
    groups: list[Group] = []
    for value in (op.lhs, op.rhs):
        if value in quantizer.integers:
            numbers.append(quantizer.integers[value])
            groups.append(quantizer.groups[value])
        else:
            number, group = _constant(quantizer, value)
            numbers.append(number)
            groups.append(group)
    first, second, shift = weights.add_multipliers(groups[0], groups[1], quantizer.group(op))
    return mfm.IntegerAddOp(
        lhs=numbers[0],
        rhs=numbers[1],
        lhs_multiplier=integer_attribute(first),
        rhs_multiplier=integer_attribute(second),
        shift=integer_attribute(shift),
        result=quantizer.result_type(op),
    ).result


def _constant(quantizer: _FunctionQuantizer, value: ir.Value) -> tuple[ir.Value, Group]:
    """A constant operand as int16 at a scale of its own."""
    array = quantizer.weight(value)
    group = Group(float(np.abs(array).max()), {16}, {16})
    integers = np.clip(np.rint(array / group.scale), -32768, 32767).astype(np.int16)
    return quantizer.parameter(f"{quantizer.weight_name(value)}.int16", integers), group


def _embedding(quantizer: _FunctionQuantizer, op: mfm.EmbeddingOp) -> ir.Value:
    table = quantizer.weight(op.table)
    name = quantizer.weight_name(op.table)
    if not is_also_multiplied(op.table):
        scale = quantizer.group(op).scale
        integers = np.clip(np.rint(table / scale), -32768, 32767).astype(np.int16)
        return mfm.EmbeddingOp(
            indices=op.indices,
            table=quantizer.parameter(f"{name}.int16", integers),
            result=quantizer.result_type(op),
        ).result
    integers, row_scale = weights.quantize_rows(table, None, 1.0)
    multiplier, shift = weights.multipliers(row_scale / quantizer.group(op).scale)
    parameters = np.stack([np.zeros_like(multiplier), multiplier, shift], axis=1)
    return mfm.IntegerEmbeddingOp(
        indices=op.indices,
        # The same integers as those of a linear that shares the weight (tied logits).
        table=quantizer.parameter(f"{name}.int8", integers),
        parameters=quantizer.parameter(f"{quantizer.label(op)}.rescale_rows", parameters),
        result=quantizer.result_type(op),
    ).result


def _cache_update(quantizer: _FunctionQuantizer, op: mfm.CacheUpdateOp) -> ir.Value:
    bits = quantizer.group(op).bits
    return mfm.CacheUpdateOp(
        cache=quantizer.integer(op.cache, bits),
        position=op.position,
        rows=quantizer.integer(op.rows, bits),
        result=quantizer.result_type(op),
    ).result


def _move(quantizer: _FunctionQuantizer, op: ir.OpView) -> ir.Value:
    operand = quantizer.integer(op.x, quantizer.group(op).bits)
    result = quantizer.result_type(op)
    if isinstance(op, mfm.ReshapeOp):
        return mfm.ReshapeOp(x=operand, result=result).result
    if isinstance(op, mfm.TransposeOp):
        return mfm.TransposeOp(x=operand, permutation=op.permutation, result=result).result
    return mfm.SliceOp(x=operand, offsets=op.offsets, strides=op.strides, result=result).result


_RULES: dict[type, Any] = {
    mfm.LinearOp: _linear,
    mfm.Conv1dOp: _conv1d,
    mfm.LayerNormOp: _layer_norm,
    mfm.GeluOp: _gelu,
    mfm.AttentionOp: _attention,
    mfm.AddOp: _add,
    mfm.EmbeddingOp: _embedding,
    mfm.CacheUpdateOp: _cache_update,
    **dict.fromkeys(MOVES, _move),
}
