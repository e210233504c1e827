"""The least important attention heads --> gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir

from girih.dialects.mfm import AttentionOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.locations import module_path
from girih.passes.matching import defined_by
from girih.passes.pruning.group import Group, Groups
from girih.passes.pruning.layout import Layout
from girih.passes.pruning.selection import Candidate, refuse_share, remaining, shrink_matching
from girih.passes.pruning.ties import FixedError


@dataclass(frozen=True)
class PruneHeads:
    """Remove a share of the heads of each attention that a pattern names.

    ```
    q, k, v = reshape(linear(x, w : (H D)xC)) each : BxLxHxD
    y = linear(reshape(attention(q, k, v)), o : Cx(H D))
    -->
    the rows of w, and the columns of o, of the kept heads alone
    ```
    A key head goes with all its query heads, so that of H query heads on G key heads a share of
    the G groups goes (Ainslie et al. 2023). Kept are the heads of the largest
    ``sum |o[:, c]|^2 mean(a_c^2)`` over their columns c, where a is what attention returns: Wanda
    (Sun et al. 2023) for whole heads. Without calibration the squares of the weights that make
    queries, keys and values stand for the mean.

    `match` is a pattern of module paths, for all that lies in them, of which the attention's or one
    of its linear operations' must match. Heads go in all functions at once: whoever reads a
    projection's weight by its name, or a cache by its state's name, loses the same heads, and
    caches get the smaller shape in every signature and in the calibration inputs. So keys and
    values from another entry point stay consistent. An attention stays whole where its heads show
    in arguments or results that are no states, or tie it to another attention's (a bias per head
    that layers share).
    """

    name: ClassVar[str] = "prune-heads"
    share: float = 0.25
    match: str = "*"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Shrink the attentions; raise `CompilationError` for a share or pattern of no use."""
        refuse_share(self.name, self.share)
        groups = Groups(module, compilation)
        found = list(candidates(groups))
        shrink_matching(self.name, "attention", self.match, found, groups, self._stay)

    def _stay(self, count: int) -> int:
        return remaining(count, self.share)


def candidates(groups: Groups) -> Iterator[Candidate]:
    """Each attention, with the heads that may go."""
    seen = set[ir.Value]()
    for function in groups.functions:
        for op in function.entry_block.operations:
            if isinstance(op, AttentionOp) and op.result not in seen:
                yield _candidate(op, groups, seen)


def _candidate(op: AttentionOp, groups: Groups, seen: set[ir.Value]) -> Candidate:
    path = module_path(op.location)
    count = shape(op.key)[2]
    if count == 1:
        return Candidate((path,), None, "it has one key head")
    try:
        group = groups.grow(op.key, Layout(2), count)
    except FixedError as reason:
        return Candidate((path,), None, str(reason))
    seen.update(group.layouts)
    paths = (path, *_paths(group))
    weights = group.outgoing_weights
    if len(weights) != 1:
        names = " and ".join(sorted(weights)) or "no linear operation"
        return Candidate(paths, None, f"{names} read its heads")
    return Candidate(paths, group)


def _paths(group: Group) -> Iterator[str]:
    for op in (*group.incoming, *group.outgoing):
        yield module_path(op.location)
    for value in group.layouts:
        if (op := defined_by(value, AttentionOp)) is not None:
            yield module_path(op.location)
