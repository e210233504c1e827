"""Residual blocks: where a module's operations add to a stream that enters and leaves them."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import AddOp, LayerNormOp, LinearOp, ParameterOp, ReshapeOp, RmsNormOp
from girih.passes.locations import module_path
from girih.passes.matching import defined_by


@dataclass(frozen=True)
class Block:
    """One module's part of a function: ``end = start + branch + ...``, of one type.

    Normalization after the sum belongs to the block (post-norm), as does what only the block's
    branches read. `weights` are the names of those that its linear operations read.
    """

    path: str
    start: ir.Value
    end: ir.Value
    weights: frozenset[str]


def blocks_of(function: func.FuncOp) -> Iterator[Block]:
    """Blocks in the order in which they begin; those within another too.

    A block is a numbered module (``layers.3``) of which the last value that others read is reached
    from one value outside by sums, and norms and reshapes between them.
    """
    for path, operations in _numbered_modules(function).items():
        inside = {result for op in operations for result in op.results}
        for op in reversed(operations):
            for end in op.results:
                if all(_is_inside(use, inside) for use in end.uses):
                    continue
                starts = {start for start, sums in _sources(end, inside, 0) if sums > 0}
                if len(starts) == 1 and (start := starts.pop()).type == end.type:
                    yield Block(path, start, end, frozenset(_weights(operations)))
                    break
            else:
                continue
            break


def _numbered_modules(function: func.FuncOp) -> dict[str, list[ir.OpView]]:
    modules: dict[str, list[ir.OpView]] = {}
    for op in function.entry_block.operations:
        parts = module_path(op.location).split(".")
        for index, part in enumerate(parts):
            if part.isdigit() and not isinstance(op, ParameterOp | func.ReturnOp):
                modules.setdefault(".".join(parts[: index + 1]), []).append(op)
    return modules


def _is_inside(use: ir.OpOperand, inside: Set[ir.Value]) -> bool:
    return any(result in inside for result in use.owner.results)


def _sources(value: ir.Value, inside: Set[ir.Value], sums: int) -> Iterator[tuple[ir.Value, int]]:
    """Values outside that reach a value through the stream, and through how many sums."""
    owner = value.owner
    if value not in inside:
        if isinstance(owner, ir.Block) or not isinstance(owner.opview, ParameterOp):
            yield value, sums
        return
    op = owner.opview
    if isinstance(op, AddOp):
        yield from _sources(op.lhs, inside, sums + 1)
        yield from _sources(op.rhs, inside, sums + 1)
    elif isinstance(op, LayerNormOp | RmsNormOp | ReshapeOp):
        yield from _sources(op.x, inside, sums)


def _weights(operations: list[ir.OpView]) -> Iterator[str]:
    for op in operations:
        if isinstance(op, LinearOp):
            weight = defined_by(op.weight, ParameterOp)
            if weight is not None:
                yield weight.parameter.value
