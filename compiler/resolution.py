"""Reads off a compiled graph what a recipe came to, weight by weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.recipe import Recipe
from girih.compiler.recipe_table import RecipeTable, Row
from girih.dialects.mfm import (
    Conv1dOp,
    EmbeddingOp,
    IntegerConv1dOp,
    IntegerEmbeddingOp,
    IntegerLinearOp,
    IntegerMatmulOp,
    LinearOp,
    MatmulOp,
    Operation,
    ParameterOp,
    UnpackOp,
)
from girih.dialects.mfm.base import numpy_dtype, shape
from girih.passes.functions import functions_of
from girih.passes.locations import lies_in, module_path
from girih.passes.quantization.rules import Precisions

Arrays = Mapping[str, NDArray[Any]]

_STORED = ("float16", "float32", "float64", "bfloat16", "int8", "int16")
"""Types of weights; others are the parameters of integer operations, masks and positions."""
_LINEAR = (LinearOp, IntegerLinearOp)
_CONVOLUTIONS = (Conv1dOp, IntegerConv1dOp)
_PRODUCTS = (MatmulOp, IntegerMatmulOp)
_LOOKUPS = (EmbeddingOp, IntegerEmbeddingOp)


_CUTS = {".rows": 0, ".columns": 1}
"""What the names of a weight's parts hold, where a pass has cut it, and the axis of the cut."""


@dataclass
class _Weight:
    """What the graph has of one imported weight: its parts by name, and all that reads them."""

    name: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    bits: dict[str, str] = field(default_factory=dict[str, str])
    readers: list[ir.OpView] = field(default_factory=list[ir.OpView])

    def add(self, parameter: ParameterOp, stored: Arrays) -> None:
        name, value = parameter.parameter.value, parameter.result
        users = _users(value)
        unpack = next((user for user in users if isinstance(user, UnpackOp)), None)
        if unpack is not None:
            users, value = _users(unpack.result), unpack.result
        dtype = stored[name].dtype
        bits = "4" if unpack is not None else str(8 * dtype.itemsize)
        self.shapes[name] = shape(value)
        self.bits[name] = bits if dtype.kind == "i" else dtype.name
        self.readers += users

    @property
    def path(self) -> str:
        return self.name.partition(".weight")[0]

    @property
    def whole(self) -> tuple[int, ...]:
        """Its shape, whose parts may stand in the graph one by one."""
        shapes = list(self.shapes.values())
        for mark, axis in _CUTS.items():
            parts = [each for name, each in self.shapes.items() if mark in name]
            if parts:
                extent = sum(each[axis] for each in parts)
                return (*parts[0][:axis], extent, *parts[0][axis + 1 :])
        return shapes[0]

    @property
    def kind(self) -> str:
        if any(not isinstance(reader, Operation) for reader in self.readers):
            return "torch"
        if self.read_by(_LINEAR):
            return "tied table" if self.read_by(_LOOKUPS) else "linear"
        if self.read_by(_CONVOLUTIONS):
            return "convolution"
        return "product" if self.read_by(_PRODUCTS) else "table"

    @property
    def nodes(self) -> frozenset[str]:
        """The modules that it belongs to, as `nodes_of` names them."""
        kinds = (*_LINEAR, *_CONVOLUTIONS, *_LOOKUPS)
        readers = [module_path(each.location) for each in self.readers if isinstance(each, kinds)]
        return frozenset((self.path, *filter(None, readers)))

    def read_by(self, kinds: tuple[type, ...]) -> bool:
        return any(isinstance(reader, kinds) for reader in self.readers)


def recipe_table(
    module: ir.Module, recipe: Recipe, imported: Arrays, stored: Arrays
) -> RecipeTable:
    """The weights of a graph after `graph_passes`: where, what, how precise and why.

    imported: the model's weights by name, as they were before any pass. stored: those that the
    program holds. A weight that passes cut into parts, or rewrote, keeps its name in front.
    """
    functions = functions_of(module)
    found: dict[str, _Weight] = {}
    for parameter in _matrices(functions, stored):
        name = _origin(parameter.parameter.value, imported)
        found.setdefault(name, _Weight(name)).add(parameter, stored)
    nodes = {name: weight.nodes for name, weight in found.items()}
    precisions = Precisions(recipe.weights, recipe.rules, nodes)
    rows = [_row(weight, recipe, precisions, imported, stored) for weight in found.values()]
    rows += _removed(recipe, imported, found)
    every = sum(array.nbytes for array in stored.values())
    return RecipeTable(recipe.name, tuple(rows), every - sum(row.bytes for row in rows))


def _matrices(functions: Sequence[func.FuncOp], stored: Arrays) -> Iterator[ParameterOp]:
    for function in functions:
        for op in function.entry_block.operations:
            if not isinstance(op, ParameterOp) or sum(size > 1 for size in shape(op.result)) < 2:
                continue
            if numpy_dtype(op.result).name in _STORED and op.parameter.value in stored:
                yield op


def _users(value: ir.Value) -> list[ir.OpView]:
    return [use.owner.operation.opview for use in value.uses]


def _origin(name: str, imported: Arrays) -> str:
    """The imported weight that a parameter was made of; its own name where it was computed."""
    parts = name.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((each for each in names if each in imported), name)


def _row(
    weight: _Weight, recipe: Recipe, precisions: Precisions, imported: Arrays, stored: Arrays
) -> Row:
    bits = "/".join(dict.fromkeys(weight.bits.values()))
    return Row(
        path=weight.path,
        kind=weight.kind,
        shape=weight.whole,
        imported=imported[weight.name].shape if weight.name in imported else weight.whole,
        bits=bits,
        rule=_rule(weight, bits, recipe, precisions),
        bytes=sum(stored[part].nbytes for part in weight.shapes),
    )


def _rule(weight: _Weight, bits: str, recipe: Recipe, precisions: Precisions) -> str:
    if not recipe.quantized:
        return "default: float"
    if weight.kind in ("table", "product", "torch"):
        if "float" in bits:
            return "no integer form"
        return f"tables: {recipe.tables}" if weight.kind == "table" else "always 8"
    rule = precisions.rule_for(weight.name)
    wanted = recipe.weights if rule is None else rule.weights
    if "float" in bits and wanted != "float":
        return "no integer form"
    sparse = any(".sparse" in part[len(weight.name) :] for part in weight.shapes)
    name = "default" if rule is None else rule.match
    return f"{name}: {wanted}{', sparse' if sparse else ''}"


def _removed(recipe: Recipe, imported: Arrays, found: Mapping[str, _Weight]) -> Iterator[Row]:
    """Weights of the blocks that pruning took."""
    patterns = [each.match for each in recipe.pruning if each.blocks]
    for name, array in imported.items():
        if name in found or sum(size > 1 for size in array.shape) < 2 or array.dtype.kind in "iub":
            continue
        path = name.partition(".weight")[0]
        pattern = next((each for each in patterns if lies_in(path, each)), None)
        if pattern is not None:
            yield Row(path, "removed", (0,), array.shape, "", f"{pattern}: blocks", 0)
