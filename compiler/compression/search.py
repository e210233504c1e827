"""From what each move costs and saves to recipes along the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from girih.compiler.compression.cost import Cost
from girih.compiler.compression.measure import Score
from girih.compiler.compression.moves import Move, with_moves
from girih.compiler.recipe import Recipe
from girih.runtime.errors import CompilationError

Resource = Literal["bytes", "cycles", "energy"]
RESOURCES: tuple[Resource, ...] = ("bytes", "cycles", "energy")
Scores = Callable[[Sequence[Recipe], str], list[Score]]
"""Scores of recipes, and what to call the work."""
Costs = Callable[[Sequence[Recipe], str], list[Cost]]


@dataclass(frozen=True)
class Point:
    """A recipe, what it costs the accelerator and what it costs the task."""

    recipe: Recipe
    cost: Cost
    score: Score


@dataclass(frozen=True)
class Budget:
    """At most so much of a resource; or at least so much agreement, or at most so much loss."""

    what: Literal["bytes", "cycles", "energy", "agreement", "loss"]
    limit: float

    def holds_for(self, cost: Cost, score: Score) -> bool:
        """Whether a point is within the budget."""
        match self.what:
            case "agreement":
                return score.agreement is not None and score.agreement >= self.limit
            case "loss":
                return score.loss <= self.limit
            case resource:
                return amount(cost, resource) <= self.limit

    @property
    def resource(self) -> Resource:
        """What the search saves: the budget's resource, or bytes where it bounds quality."""
        return self.what if self.what in RESOURCES else "bytes"


def amount(cost: Cost, resource: Resource) -> float:
    """How much of a resource a program takes."""
    match resource:
        case "bytes":
            return cost.bytes
        case "cycles":
            return cost.cycles
        case "energy":
            return cost.energy_joules


class Search:
    """Chooses moves: by loss a unit saved, measured alone; then by exchanging some, measured whole.

    What moves lose is taken to add up, which ranks them well enough (HAWQ-V2, Dong et al. 2020, and
    others go by such sums); what is reported is always measured with all moves together.

    losses: of each move, by which, for what it saves, they are ordered; None keeps their order.
    """

    def __init__(
        self,
        base: Recipe,
        moves: Sequence[Move],
        losses: Sequence[float] | None,
        budget: Budget,
        scores: Scores,
        costs: Costs,
    ) -> None:
        self.base, self.budget = base, budget
        self._scores, self._costs = scores, costs
        self.points: dict[frozenset[int], Point] = {}
        self.moves = list(moves)
        whole, *each = costs(
            [base, *(with_moves(base, [move]) for move in moves)], "what each move saves"
        )
        resource = budget.resource
        self._whole = amount(whole, resource)
        self._saved = [self._whole - amount(cost, resource) for cost in each]
        # Of equal loss for what they save, moves stay in order.
        self._losses = self._saved if losses is None else list(losses)
        order = [index for index, saved in enumerate(self._saved) if saved > 0]
        self._order = sorted(order, key=lambda index: self._losses[index] / self._saved[index])

    def run(self, points: int, trials: int) -> Point:
        """The best point within the budget, of so many along the way and so many exchanges.

        Raises `CompilationError` where no recipe is within the budget.
        """
        path = self._path()
        self._measure([path[0], path[-1]], "the ends of the front")
        chosen = self._bisect(path) if self._is_quality else self._first_within(path)
        count = min(points, len(path))
        spread = [path[round(step * (len(path) - 1) / max(count - 1, 1))] for step in range(count)]
        self._measure(spread, "the front")
        if not self._is_quality:
            chosen = self._exchange(chosen, trials)
        return self.points[chosen]

    @property
    def _is_quality(self) -> bool:
        return self.budget.what not in RESOURCES

    def _path(self) -> list[frozenset[int]]:
        """Sets of moves, each with one more than the last."""
        path = [frozenset[int]()]
        for index in self._order:
            chosen = self._compatible([*sorted(path[-1]), index])
            if chosen != path[-1] and self._predicted(chosen) < self._predicted(path[-1]):
                path.append(chosen)
        return path

    def _compatible(self, indices: Iterable[int]) -> frozenset[int]:
        """Without what lies in blocks that go as a whole."""
        indices = list(indices)
        gone = {self.moves[index].block for index in indices if self.moves[index].kind == "blocks"}
        return frozenset(
            index
            for index in indices
            if self.moves[index].kind == "blocks" or self.moves[index].block not in gone
        )

    def _predicted(self, chosen: frozenset[int]) -> float:
        return self._whole - sum(self._saved[index] for index in chosen)

    def _first_within(self, path: Sequence[frozenset[int]]) -> frozenset[int]:
        """The first set of the path that is within the budget, by what the simulator says of it."""
        last = self.points[path[-1]]
        if not self.budget.holds_for(last.cost, last.score):
            raise CompilationError(
                f"no recipe within {self.budget.what} of {self.budget.limit:,.6g}: all moves "
                f"together leave {amount(last.cost, self.budget.resource):,.6g}; "
                "allow more pruning, or a larger budget"
            )
        for chosen in path:
            # What moves save together differs a little from the sum: a rounding here and there.
            if self._predicted(chosen) > self.budget.limit * 1.02:
                continue
            self._measure([chosen], "the budget")
            point = self.points[chosen]
            if self.budget.holds_for(point.cost, point.score):
                return chosen
        return path[-1]

    def _bisect(self, path: Sequence[frozenset[int]]) -> frozenset[int]:
        """The last set of the path whose quality holds, if quality falls along it."""
        first = self.points[path[0]]
        if not self.budget.holds_for(first.cost, first.score):
            raise CompilationError(
                f"{self.base.name} alone has {self.budget.what} "
                f"{first.score.loss if self.budget.what == 'loss' else first.score.agreement}: "
                f"nothing is within {self.budget.limit}"
            )
        low, high = 0, len(path)
        while high - low > 1:
            middle = (low + high) // 2
            self._measure([path[middle]], "the budget")
            point = self.points[path[middle]]
            if self.budget.holds_for(point.cost, point.score):
                low = middle
            else:
                high = middle
        return path[low]

    def _exchange(self, chosen: frozenset[int], trials: int) -> frozenset[int]:
        """Take back what hurts most, make up for it elsewhere; keep what is measured better."""
        tried = {chosen}
        for _ in range(trials):
            proposal = next((each for each in self._proposals(chosen) if each not in tried), None)
            if proposal is None:
                break
            tried.add(proposal)
            self._measure([proposal], "exchanges")
            point, best = self.points[proposal], self.points[chosen]
            is_within = self.budget.holds_for(point.cost, point.score)
            if is_within and point.score.loss < best.score.loss:
                chosen = proposal
        return chosen

    def _proposals(self, chosen: frozenset[int]) -> list[frozenset[int]]:
        """Sets with one move less, and what makes up for it; the least sum of losses first."""
        found: set[frozenset[int]] = set()
        for gone in chosen:
            kept = chosen - {gone}
            others = [index for index in self._order if index not in chosen]
            for first in (None, *others):
                found.add(self._filled(kept, [first, *others] if first is not None else others))
        within = [each for each in found if self._predicted(each) <= self.budget.limit]
        return sorted(within, key=lambda each: (self._loss(each), sorted(each)))

    def _filled(self, kept: frozenset[int], others: Iterable[int]) -> frozenset[int]:
        """With others, one after another, until the budget has room for it."""
        for index in others:
            if self._predicted(kept) <= self.budget.limit:
                break
            kept = self._compatible([*sorted(kept), index])
        return kept

    def _loss(self, chosen: frozenset[int]) -> float:
        return sum(self._losses[index] for index in chosen)

    def _measure(self, sets: Sequence[frozenset[int]], title: str) -> None:
        missing = list(dict.fromkeys(each for each in sets if each not in self.points))
        if not missing:
            return
        recipes = [
            with_moves(self.base, [self.moves[index] for index in sorted(each)]) for each in missing
        ]
        scores, costs = self._scores(recipes, title), self._costs(recipes, title)
        for each, recipe, cost, score in zip(missing, recipes, costs, scores, strict=True):
            self.points[each] = Point(recipe, cost, score)


def front(points: Iterable[Point], resource: Resource, chosen: Point) -> list[Point]:
    """Points that no other one beats in both the resource and the loss; the largest first.

    Of those, seen from the chosen one, the ones that take more energy with more of the resource,
    and less with less: what spares bytes by spending energy, because it parts what was computed
    together, is no step down.
    """
    ordered = sorted(points, key=lambda each: (amount(each.cost, resource), each.score.loss))
    kept: list[Point] = []
    for point in ordered:
        if not kept or point.score.loss < kept[-1].score.loss:
            kept.append(point)
    place = amount(chosen.cost, resource)
    larger = [each for each in kept if amount(each.cost, resource) > place]
    smaller = [each for each in kept if amount(each.cost, resource) < place]
    falling = [chosen]
    for point in larger:
        if point.cost.energy_joules >= falling[-1].cost.energy_joules:
            falling.append(point)
    falling.reverse()
    for point in reversed(smaller):
        if point.cost.energy_joules <= falling[-1].cost.energy_joules:
            falling.append(point)
    return falling
