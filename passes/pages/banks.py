"""Banks for tensors, so that those that are streamed together do not close each other's pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from girih.passes.pages.trace import Integers

# Further apart than this many rounds of the banks, a page is closed whatever banks are chosen.
_ROUNDS = 2
_SWEEPS = 8


def activates(page: Integers, banks: int) -> int:
    """Pages that visits in this order open, refresh apart, each bank keeping its last one open."""
    order = np.argsort(page % banks, kind="stable")
    sorted_pages = page[order]
    # Neighbours of two banks are two pages, so that the first of each bank counts, too.
    return int((sorted_pages[1:] != sorted_pages[:-1]).sum()) + min(len(page), 1)


@dataclass
class Conflicts:
    """How often two tensors close each other's pages, by the distance of their first banks.

    ``lost[a, b][d]``: pages of tensor a that are opened again when b begins d banks after a. Sums
    over pairs count a page that several others would close more than once: an estimate that
    `choose` minimizes, not a count.
    """

    banks: int
    lost: dict[tuple[int, int], NDArray[np.int64]] = field(
        default_factory=dict[tuple[int, int], "NDArray[np.int64]"]
    )

    def add(self, tensors: Sequence[int], pages: Sequence[int]) -> None:
        """Visits of one program in order: tensor, and page counted from the tensor's first."""
        latest: dict[tuple[int, int], int] = {}
        reach = _ROUNDS * self.banks
        for now, key in enumerate(zip(tensors, pages, strict=True)):
            before = latest.get(key, now)
            latest[key] = now
            if not 1 < now - before <= reach:
                continue
            tensor, page = key
            between = {
                (tensors[at], (page - pages[at]) % self.banks)
                for at in range(before + 1, now)
                if tensors[at] != tensor
            }
            for other, distance in between:
                pair = tensor, other
                if pair not in self.lost:
                    self.lost[pair] = np.zeros(self.banks, np.int64)
                self.lost[pair][distance] += 1

    def choose(self) -> dict[int, int]:
        """The first bank of each tensor that has a choice to lose: greedy, then improved."""
        costs: dict[int, list[tuple[int, NDArray[np.int64]]]] = defaultdict(list)
        weight: dict[int, int] = defaultdict(int)
        # cost[b] for a at bank x and b at bank y: lost[a, b][y - x]; from a's side, by x - y.
        backwards = -np.arange(self.banks) % self.banks
        for (first, second), lost in self.lost.items():
            costs[second].append((first, lost))
            costs[first].append((second, lost[backwards]))
            for tensor in (first, second):
                weight[tensor] += int(lost.sum())
        chosen: dict[int, int] = {}
        order = sorted(weight, key=lambda tensor: (-weight[tensor], tensor))
        for _ in range(_SWEEPS):
            before = dict(chosen)
            for tensor in order:
                chosen[tensor] = self._best(costs[tensor], chosen, chosen.get(tensor))
            if chosen == before:
                break
        return chosen

    def _best(
        self,
        costs: Iterable[tuple[int, NDArray[np.int64]]],
        chosen: dict[int, int],
        present: int | None,
    ) -> int:
        total = np.zeros(self.banks, np.int64)
        for other, by_distance in costs:
            if other in chosen:
                total += np.roll(by_distance, chosen[other])
        # Stay where nothing is better: every sweep then lowers the sum, and the last changes none.
        if present is not None and total[present] == total.min():
            return present
        return int(total.argmin())
