"""Scores and costs of many recipes: over processes, each kept as soon as it is there."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from typing import Any

import torch

from girih.compiler.compression.cost import Cost, Simulator
from girih.compiler.compression.measure import Evaluator, Score
from girih.compiler.compression.store import Store
from girih.compiler.recipe import Recipe

Progress = Callable[[str, int, int], None]
"""What is being done, how many of it are done, of how many."""


class Workbench:
    """What a search asks: scores by the evaluator, costs by the simulator.

    Processes are forks of this one: they share its weights. Each computes on one thread, so that a
    score does not depend on how many there are.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        simulator: Simulator,
        store: Store,
        processes: int,
        progress: Progress,
    ) -> None:
        self.evaluator, self.simulator = evaluator, simulator
        self.store, self.processes, self.progress = store, processes, progress

    def scores(self, recipes: Sequence[Recipe], title: str) -> list[Score]:
        """What each recipe costs the task."""
        values = self._all("score", recipes, f"{title}: the task", self.evaluator.prepare)
        return [Score(**value) for value in values]

    def costs(self, recipes: Sequence[Recipe], title: str) -> list[Cost]:
        """What each recipe costs the accelerator."""
        values = self._all("cost", recipes, f"{title}: the accelerator", lambda: None)
        return [Cost(**value) for value in values]

    def _all(
        self, kind: str, recipes: Sequence[Recipe], title: str, prepare: Callable[[], None]
    ) -> list[Any]:
        missing = [recipe for recipe in recipes if self.store.get(kind, recipe) is None]
        # Recipes that differ by name alone are one.
        missing = list({each.model_dump_json(exclude={"name"}): each for each in missing}.values())
        done = len(recipes) - len(missing)
        self.progress(title, done, len(recipes))
        if missing:
            prepare()
            for recipe, value in self._computed(kind, missing):
                self.store.put(kind, recipe, value)
                done += 1
                self.progress(title, done, len(recipes))
        return [self.store.get(kind, recipe) for recipe in recipes]

    def _computed(self, kind: str, recipes: Sequence[Recipe]) -> Iterator[tuple[Recipe, Any]]:
        work = {"score": self.evaluator.score, "cost": self.simulator.cost}[kind]
        if self.processes == 1 or len(recipes) == 1:
            yield from _one_by_one(work, recipes)
            return
        _WORK.append(work)
        try:
            pool = ProcessPoolExecutor(
                self.processes, multiprocessing.get_context("fork"), _use_one_thread
            )
            with pool:
                futures = {pool.submit(_compute, recipe): recipe for recipe in recipes}
                for future in as_completed(futures):
                    yield futures[future], future.result()
        finally:
            _WORK.pop()


_WORK: list[Callable[[Recipe], Any]] = []
"""What forked processes find: a graph and its weights cannot be sent to them."""


def _use_one_thread() -> None:
    torch.set_num_threads(1)


def _compute(recipe: Recipe) -> Any:
    return asdict(_WORK[-1](recipe))


def _one_by_one(
    work: Callable[[Recipe], Any], recipes: Iterable[Recipe]
) -> Iterator[tuple[Recipe, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for recipe in recipes:
            yield recipe, asdict(work(recipe))
    finally:
        torch.set_num_threads(threads)
