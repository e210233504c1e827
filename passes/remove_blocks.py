"""Residual blocks that turn the stream least --> gone, the stream passes straight through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import LinearOp
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of
from girih.passes.locations import lies_in
from girih.passes.pruning.blocks import Block, blocks_of
from girih.passes.pruning.importance import weight_name
from girih.passes.pruning.influence import influence_key
from girih.passes.pruning.states import drop_states, unread_states
from girih.runtime.errors import CompilationError


@dataclass
class _Everywhere:
    """One block in all functions that have it."""

    path: str
    places: list[tuple[func.FuncOp, Block]] = field(default_factory=list[tuple[func.FuncOp, Block]])


@dataclass(frozen=True)
class RemoveBlocks:
    """Remove the `count` least influential of the blocks that a pattern names.

    ```
    y = x + attention(norm(x));  z = y + mlp(norm(y));  next(z)   -->   next(x)
    ```
    A block is a numbered module (``layers.3``) between whose operations a residual stream enters
    and leaves with one shape; all its branches go. Its influence is 1 - the mean cosine of the
    stream before and after it (ShortGPT, Men et al. 2024), which `calibrate` observes; where
    nothing was observed, as in an estimate of time, the last ones go.

    `match` is a pattern of module paths, for all that lies in them; of blocks within a block that
    it names, only the outer one counts. ``match="model.layers.7", count=1`` removes one block by
    name. A block goes from all functions that have its path or weights. Caches that then nobody
    reads leave all signatures and the calibration inputs.
    """

    name: ClassVar[str] = "remove-blocks"
    count: int = 1
    match: str = "*"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewire the streams; raise `CompilationError` for blocks that there are not."""
        functions = functions_of(module)
        blocks = _matching(functions, self.match)
        if not blocks:
            raise CompilationError(f"{self.name}: {self.match!r} matches no residual block")
        if not 0 <= self.count <= len(blocks):
            raise CompilationError(
                f"{self.name}: count is {self.count}, but {self.match!r} matches {len(blocks)} "
                f"block{'s' if len(blocks) > 1 else ''}"
            )
        removed = _least_first(blocks, compilation)[: self.count]
        for block in removed:
            _refuse_other_readers(block, functions)
        unread = unread_states(functions)
        paths = {
            (function.name.value, place.path) for each in removed for function, place in each.places
        }
        for function in functions:
            blocks_here = [
                block for block in blocks_of(function) if (function.name.value, block.path) in paths
            ]
            # The last first: what one block begins with, another may end with.
            for block in reversed(blocks_here):
                block.end.replace_all_uses_with(block.start)
            erase_unused(function.entry_block)
        drop_states(functions, unread_states(functions) - unread, compilation)


def _matching(functions: Sequence[func.FuncOp], pattern: str) -> list[_Everywhere]:
    """Outermost blocks that match, in order; those of one path or of the same weights are one."""
    found: list[_Everywhere] = []
    for function in functions:
        outer = ""
        for block in blocks_of(function):
            if not lies_in(block.path, pattern) or (outer and block.path.startswith(f"{outer}.")):
                continue
            outer = block.path
            same = (each for each in found if _is_same(block, each))
            everywhere = next(same, None)
            if everywhere is None:
                everywhere = _Everywhere(block.path)
                found.append(everywhere)
            everywhere.places.append((function, block))
    return found


def _is_same(block: Block, everywhere: _Everywhere) -> bool:
    return any(
        other.weights & block.weights or not other.weights | block.weights
        if other.path == block.path
        else block.weights and other.weights == block.weights
        for _, other in everywhere.places
    )


def _least_first(blocks: Sequence[_Everywhere], compilation: Compilation) -> list[_Everywhere]:
    def influence(block: _Everywhere) -> float:
        keys = [influence_key(function, place) for function, place in block.places]
        return float(np.mean([compilation.influence[key] for key in keys]))

    known = all(
        influence_key(function, place) in compilation.influence
        for block in blocks
        for function, place in block.places
    )
    return sorted(blocks, key=influence) if known else list(reversed(blocks))


def _refuse_other_readers(block: _Everywhere, functions: Sequence[func.FuncOp]) -> None:
    """A block that stays in one entry point and goes from another would be another model."""
    weights = {name for _, place in block.places for name in place.weights}
    having = [function for function, _ in block.places]
    for function in functions:
        if function in having:
            continue
        for op in function.entry_block.operations:
            if isinstance(op, LinearOp) and weight_name(op) in weights:
                raise CompilationError(
                    f"remove-blocks: entry {function.name.value!r} reads weights of "
                    f"{block.path!r}, but not as a block"
                )
