"""The hidden columns of an MLP in groups, so that no more than one group need be on chip."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from torch_mlir import ir

from girih.dialects.mfm import AddOp, GeluOp, LayerNormOp, LinearOp, ParameterOp, RmsNormOp, UnaryOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of
from girih.passes.matching import defined_by, unshaped, used_once

_ActivationOp = GeluOp | UnaryOp


@dataclass(frozen=True)
class SplitHidden:
    """Compute an MLP on a residual stream one group of its hidden columns after the other.

    ```
    n = norm(x);  y = x + linear(gelu(linear(n, w1, b1)), w2, b2)
    -->
    y = x + linear(gelu(linear(n, w1[:h], b1[:h])), w2[:, :h], b2)
    y = y + linear(gelu(linear(n, w1[h:2h], b1[h:2h])), w2[:, h:2h])  ...
    ```
    A block of rows then keeps its residual stream, what is normalized and one group on chip, and
    more rows fit: each block loads all weights. The groups' sums are rounded to the 16 bits of the
    residual stream one by one, which is why this is a rewrite of the graph and not a choice of
    tiles. MLPs whose hidden values take less than `least` bytes gain nothing and stay whole, and so
    do those whose weights another operation reads too: they would be stored twice.
    """

    name: ClassVar[str] = "split-hidden"
    groups: int = 4
    least: int = 1 << 17

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function of the module."""
        functions = functions_of(module)
        readers = Counter[str]()
        for function in functions:
            for op in function.entry_block.operations:
                if isinstance(op, ParameterOp):
                    readers[op.parameter.value] += len(list(op.result.uses))
        for function in functions:
            for op in list(function.entry_block.operations):
                mlp = _mlp_that_ends_with(op, readers) if isinstance(op, AddOp) else None
                if mlp is not None and self._gains(mlp):
                    with ir.InsertionPoint(op), op.location:
                        op.result.replace_all_uses_with(_split(mlp, self.groups, compilation))
            erase_unused(function.entry_block)

    def _gains(self, mlp: _Mlp) -> bool:
        hidden = shape(mlp.first.result)
        return hidden[-1] % self.groups == 0 and math.prod(hidden) >= self.least


@dataclass(frozen=True)
class _Mlp:
    """``join = x + last(activation(first(norm(x))))``."""

    x: ir.Value
    first: LinearOp
    activation: _ActivationOp
    last: LinearOp
    join: AddOp


def _mlp_that_ends_with(join: AddOp, readers: Counter[str]) -> _Mlp | None:
    for x, branch in ((join.lhs, join.rhs), (join.rhs, join.lhs)):
        last = defined_by(branch, LinearOp)
        if last is None or not used_once(branch):
            continue
        activation = defined_by(last.x, GeluOp) or defined_by(last.x, UnaryOp)
        first = None if activation is None else defined_by(activation.x, LinearOp)
        if activation is None or first is None:
            continue
        norm = defined_by(unshaped(first.x), LayerNormOp) or defined_by(
            unshaped(first.x), RmsNormOp
        )
        if norm is None or unshaped(norm.x) != unshaped(x) or shape(x) != shape(join.result):
            continue
        if not (used_once(last.x) and used_once(activation.x)):
            continue
        weights = [first.weight, first.bias, last.weight, last.bias]
        names = [_name(each) for each in weights if each is not None]
        if all(name is not None and readers[name] == 1 for name in names):
            return _Mlp(x, first, activation, last, join)
    return None


def _name(weight: ir.Value) -> str | None:
    op = defined_by(weight, ParameterOp)
    return None if op is None else op.parameter.value


def _split(mlp: _Mlp, groups: int, compilation: Compilation) -> ir.Value:
    *leading, hidden = shape(mlp.first.result)
    width = hidden // groups
    total = mlp.x
    for start in range(0, hidden, width):
        part = slice(start, start + width)
        bias = mlp.first.bias
        kind = ir.RankedTensorType.get([*leading, width], ir.F32Type.get())
        with mlp.first.location:
            inner = LinearOp(
                x=mlp.first.x,
                weight=_part(mlp.first.weight, (part,), compilation),
                bias=None if bias is None else _part(bias, (part,), compilation),
                result=kind,
            ).result
        with mlp.activation.location:
            old = mlp.activation.operation
            attributes = {name: old.attributes[name] for name in old.attributes}
            active = ir.Operation.create(old.name, [kind], [inner], attributes).result
        with mlp.last.location:
            outer = LinearOp(
                x=active,
                weight=_part(mlp.last.weight, (slice(None), part), compilation),
                bias=mlp.last.bias if start == 0 else None,
                result=mlp.last.result.type,
            ).result
        with mlp.join.location:
            total = AddOp(lhs=total, rhs=outer, result=mlp.join.result.type).result
    return total


def _part(weight: ir.Value, part: tuple[slice, ...], compilation: Compilation) -> Any:
    """Some rows or columns of a weight, which lie in the memory of the whole."""
    whole = weight.owner.opview.parameter.value
    array = compilation.parameters[whole][part]
    name = f"{whole}.{'rows' if len(part) == 1 else 'columns'}{part[-1].start}"
    compilation.parameters[name] = array
    kind = ir.RankedTensorType.get(array.shape, weight.type.element_type)
    return ParameterOp(parameter=ir.StringAttr.get(name), result=kind).result
