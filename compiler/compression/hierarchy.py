"""A model's hierarchy, out of its graph: model > tower > block > module."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects.mfm import Conv1dOp, EmbeddingOp, LinearOp, ParameterOp
from girih.passes.functions import functions_of
from girih.passes.matching import defined_by
from girih.passes.quantization.rules import nodes_of


@dataclass(frozen=True)
class Node:
    """Products that get one precision: one weight, or those that read the same value side by side.

    paths: modules, as rules spell them. weights: names of the parameters. label: the paths in one.
    tower: the part of the model, block: the numbered layer that it lies in, or the empty string.
    """

    label: str
    paths: tuple[str, ...]
    weights: tuple[str, ...]
    tower: str
    block: str


def nodes(module: ir.Module) -> list[Node]:
    """The nodes of a float graph in the order of its operations.

    Queries, keys and values are one node, and so are gate and up of a gated MLP: what reads one
    value in one module. A table that is the last layer's weight too is that layer.
    """
    functions = functions_of(module)
    names = nodes_of(functions)
    groups: dict[object, list[str]] = {}
    homes: dict[str, object] = {}
    for function in functions:
        for op in function.entry_block.operations:
            if not isinstance(op, LinearOp | Conv1dOp):
                continue
            parameter = defined_by(op.weight, ParameterOp)
            if parameter is None:
                continue
            name = parameter.parameter.value
            if name in homes:
                continue
            home = (
                function.name.value,
                _reader_key(op.x),
                _path(name, names[name]).rpartition(".")[0],
            )
            homes[name] = home
            groups.setdefault(home, []).append(name)
    paths = {name: _path(name, names[name]) for name in homes}
    towers = _towers(paths.values())
    found: list[Node] = []
    for members in groups.values():
        own = tuple(paths[name] for name in members)
        found.append(Node(_label(own), own, tuple(members), towers[own[0]], block_of(own[0])))
    return found


def tables(module: ir.Module) -> set[str]:
    """Names of the weights that are looked up, and multiplied with nothing."""
    looked, multiplied = set[str](), set[str]()
    for function in functions_of(module):
        for op in function.entry_block.operations:
            if isinstance(op, EmbeddingOp):
                parameter, into = defined_by(op.table, ParameterOp), looked
            elif isinstance(op, LinearOp | Conv1dOp):
                parameter, into = defined_by(op.weight, ParameterOp), multiplied
            else:
                continue
            if parameter is not None:
                into.add(parameter.parameter.value)
    return looked - multiplied


def block_of(path: str) -> str:
    """The path of the numbered module that a module lies in, or the empty string."""
    parts = path.split(".")
    for count, part in enumerate(parts, 1):
        if part.isdigit() and count < len(parts):
            return ".".join(parts[:count])
    return ""


def _reader_key(value: ir.Value) -> object:
    owner = value.owner
    return value if isinstance(owner, ir.Block) else (owner, 0)


def _path(weight: str, modules: Iterable[str]) -> str:
    """How rules spell the module of a weight: by its own name where that is known."""
    own = weight.partition(".weight")[0]
    known = sorted(modules)
    return own if own in known else known[0]


def _label(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return paths[0]
    home = paths[0].rpartition(".")[0]
    leaves = ", ".join(path.rpartition(".")[2] for path in paths)
    return f"{home}.{{{leaves}}}" if home else f"{{{leaves}}}"


def _towers(paths: Iterable[str]) -> dict[str, str]:
    """The part of the model that each path lies in: what follows all that they have in common."""
    split = {path: path.split(".") for path in paths}
    if len(split) < 2:
        return dict.fromkeys(split, "")
    common = len(os.path.commonprefix([parts[:-1] for parts in split.values()]))
    found: dict[str, str] = {}
    for path, parts in split.items():
        tower = parts[: common + 1] if len(parts) > common + 1 else parts[:common]
        found[path] = ".".join(part for part in tower if not part.isdigit())
    return found
