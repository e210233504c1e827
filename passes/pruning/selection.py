"""Which groups of units a pattern names, and which of their units go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from girih.passes.locations import lies_in
from girih.passes.pruning.group import Group, Groups
from girih.passes.pruning.importance import least_first
from girih.runtime.errors import CompilationError


@dataclass(frozen=True)
class Candidate:
    """Units that may go: the module paths that name them, and the group or why there is none."""

    paths: tuple[str, ...]
    group: Group | None
    reason: str = ""

    def matches(self, pattern: str) -> bool:
        """Whether a pattern names one of the candidate's modules, or one that it lies in."""
        return any(lies_in(path, pattern) for path in self.paths)


def refuse_share(name: str, share: float) -> None:
    """Raise `CompilationError` for what is no share that leaves something."""
    if not 0 <= share < 1:
        raise CompilationError(f"{name} takes a share from 0 to below 1, found {share}")


def remaining(count: int, share: float) -> int:
    """How many of some units stay, at least one."""
    return max(1, count - round(share * count))


def shrink_matching(
    name: str,
    what: str,
    pattern: str,
    candidates: Sequence[Candidate],
    groups: Groups,
    stay: Callable[[int], int],
) -> None:
    """Shrink the groups that a pattern names to the most important units, `stay` of the count.

    Raises `CompilationError` where it names none, or none that can shrink.
    """
    matching = [each for each in candidates if each.matches(pattern)]
    if not matching:
        known = f"the first is {candidates[0].paths[0]!r}" if candidates else "there is none"
        raise CompilationError(f"{name}: {pattern!r} matches no {what}; {known}")
    found = [each.group for each in matching if each.group is not None]
    if not found:
        first = matching[0]
        raise CompilationError(f"{name}: {first.paths[0]!r} must stay whole: {first.reason}")
    for group in found:
        kept = stay(group.count)
        if kept < group.count:
            order = least_first(group, groups.compilation)
            groups.shrink(group, np.sort(order[group.count - kept :]))
