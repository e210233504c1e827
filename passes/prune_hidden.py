"""The least important hidden channels of MLPs --> gone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from girih.dialects.mfm import (
    BinaryOp,
    GeluOp,
    LinearOp,
    MultiplyScalarOp,
    ReshapeOp,
    SliceOp,
    UnaryOp,
)
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.locations import module_path
from girih.passes.matching import defined_by
from girih.passes.pruning.group import Groups
from girih.passes.pruning.layout import Layout
from girih.passes.pruning.selection import Candidate, refuse_share, remaining, shrink_matching
from girih.passes.pruning.ties import FixedError
from girih.runtime.errors import CompilationError


@dataclass(frozen=True)
class PruneHidden:
    """Remove a share of the hidden channels of each MLP that a pattern names.

    ```
    y = linear(gelu(linear(x, w1 : HxC, b1 : H)), w2 : CxH)
    -->
    y = linear(gelu(linear(x, w1[kept], b1[kept])), w2[:, kept])
    ```
    Gated MLPs ``down(silu(gate(x)) * up(x))`` lose the same rows of both, also where gate and up
    are one product. Kept are the channels of the largest ``|w2[:, c]| rms(h_c)``: Wanda (Sun et
    al. 2023) for whole channels. Without calibration the norm of what makes a channel, weights
    and bias, stands for its root mean square.

    `match` is a pattern of module paths, for all that lies in them, of which one linear operation's
    must match. The kept channels are rounded up to a multiple of `multiple`, such as the width of
    the target's array. Functions that share weights lose the same channels; an MLP whose channels
    something else reads, or whose weights something else reads in another way, stays whole.
    """

    name: ClassVar[str] = "prune-hidden"
    share: float = 0.25
    match: str = "*"
    multiple: int = 1

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Shrink the MLPs; raise `CompilationError` for a share or pattern of no use."""
        refuse_share(self.name, self.share)
        if self.multiple < 1:
            raise CompilationError(f"{self.name}: multiple is {self.multiple}, expected 1 or more")
        groups = Groups(module, compilation)
        found = list(candidates(groups))
        shrink_matching(self.name, "MLP", self.match, found, groups, self._stay)

    def _stay(self, count: int) -> int:
        kept = remaining(count, self.share)
        return min(count, math.ceil(kept / self.multiple) * self.multiple)


def candidates(groups: Groups) -> Iterator[Candidate]:
    """Each MLP, with the channels that may go."""
    seen = set[ir.Value]()
    for function in groups.functions:
        for op in function.entry_block.operations:
            if isinstance(op, LinearOp) and op.x not in seen and _is_activated(op.x):
                yield _candidate(op, groups, seen)


def _candidate(last: LinearOp, groups: Groups, seen: set[ir.Value]) -> Candidate:
    hidden = shape(last.x)
    path = module_path(last.location)
    try:
        group = groups.grow(last.x, Layout(len(hidden) - 1), hidden[-1])
    except FixedError as reason:
        return Candidate((path,), None, str(reason))
    seen.update(group.layouts)
    paths = [path, *(module_path(op.location) for op in (*group.incoming, *group.outgoing))]
    if not group.incoming:
        return Candidate(tuple(paths), None, "no linear operation makes its channels")
    weights = group.outgoing_weights
    if len(weights) > 1:
        return Candidate(tuple(paths), None, f"{' and '.join(sorted(weights))} read its channels")
    return Candidate(tuple(paths), group)


def _is_activated(value: ir.Value) -> bool:
    """Whether a value comes from an activation, through a gate and what only moves channels."""
    if defined_by(value, GeluOp) or defined_by(value, UnaryOp):
        return True
    moved = (
        defined_by(value, ReshapeOp)
        or defined_by(value, SliceOp)
        or defined_by(value, MultiplyScalarOp)
    )
    if moved is not None:
        return _is_activated(moved.x)
    gate = defined_by(value, BinaryOp)
    return gate is not None and (_is_activated(gate.lhs) or _is_activated(gate.rhs))
