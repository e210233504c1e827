"""Training: batches of episodes, one change of the weights each, a checkpoint now and then."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from girih.compiler.adaptation.adapters import Adapters
from girih.compiler.adaptation.checkpoint import Checkpoint
from girih.compiler.adaptation.settings import Settings
from girih.compiler.adaptation.student import Results
from girih.compiler.adaptation.teacher import Teacher, distance
from girih.compiler.episodes import Episode
from girih.runtime.errors import CompilationError

_KEPT_EVERY = 5
"""Steps from one checkpoint to the next: what a kill costs at most."""
_LONGEST_GRADIENT = 1.0
"""Norm of all gradients together beyond which they are shortened: one odd clip turns nothing."""

Weights = Mapping[str, NDArray[Any]]
Student = Callable[[Episode, Mapping[str, Tensor]], tuple[Results, dict[str, Tensor]]]
"""An episode and weights to the results of each call and the states that it leaves."""


@dataclass(frozen=True)
class Trainer:
    """Brings a student to its teacher's answers.

    parameters: every weight that the student's float graph reads. requantize: makes the student's
    integers, if it has any, those of changed weights. first, steps: of the steps that the settings
    count together, those that are this trainer's.
    """

    student: Student
    teacher: Teacher
    parameters: Mapping[str, Tensor]
    requantize: Callable[[Weights], None]
    episodes: Sequence[Episode]
    settings: Settings
    first: int
    steps: int

    def run(
        self, adapters: Adapters, checkpoint: Checkpoint, progress: Callable[[str], None]
    ) -> list[float]:
        """Train from the checkpoint on to the last step; return the loss of each step."""
        rate = self.settings.rate_at
        optimizer = torch.optim.AdamW(adapters.parameters, lr=rate(self.first), weight_decay=0.0)
        known = checkpoint.read()
        if known.losses:
            adapters.restore(known.adapters)
            optimizer.load_state_dict(known.optimizer)
        losses = known.losses
        with _one_episode_a_core() as pool:
            while len(losses) < self.steps:
                step = self.first + len(losses)
                for group in optimizer.param_groups:
                    group["lr"] = rate(step)
                losses.append(self._step(step, adapters, optimizer, pool))
                done = len(losses)
                progress(f"step {done} of {self.steps}: loss {losses[-1]:.4f}")
                if done % _KEPT_EVERY == 0 or done == self.steps:
                    known.adapters, known.optimizer = adapters.state(), optimizer.state_dict()
                    checkpoint.write(known)
                checkpoint.log(losses)
        return losses

    def _step(
        self, step: int, adapters: Adapters, optimizer: torch.optim.Optimizer, pool: Executor
    ) -> float:
        weights = adapters.weights()
        # Gradients gather here over the batch, and go through the low-rank products once.
        leaves = {name: each.detach().requires_grad_() for name, each in weights.items()}
        self.requantize({name: each.detach().numpy() for name, each in weights.items()})
        found = list(pool.map(partial(self._gradients, leaves), self._batch(step)))
        total = sum(loss for loss, _ in found)
        if not math.isfinite(total):
            raise CompilationError(
                f"the loss of step {step + 1} is no number: an example holds none, or the rate is "
                "too high"
            )
        for _, gradients in found:
            _add_up(leaves.values(), gradients)
        optimizer.zero_grad()
        trained = [name for name, leaf in leaves.items() if leaf.grad is not None]
        if not trained:
            raise CompilationError(
                f"the episodes of step {step + 1} reach no weight that is to be trained"
            )
        torch.autograd.backward(
            [weights[name] for name in trained], [leaves[name].grad for name in trained]
        )
        torch.nn.utils.clip_grad_norm_(adapters.parameters, _LONGEST_GRADIENT)
        optimizer.step()
        return total

    def _gradients(
        self, leaves: Mapping[str, Tensor], number: int
    ) -> tuple[float, Sequence[Tensor | None]]:
        """An episode's share of the loss, and of the gradients of the leaves."""
        episode = self.episodes[number]
        found = self.student(episode, {**self.parameters, **leaves})
        expected = self.teacher.answers(number, episode)
        loss = distance(found, expected, self.settings.loss, self.settings.states)
        loss = loss / self.settings.batch
        if not (loss.requires_grad and torch.isfinite(loss)):
            return loss.item(), [None] * len(leaves)
        return loss.item(), torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)

    def _batch(self, step: int) -> Iterator[int]:
        """Numbers of the episodes of a step: each once, in some order, and so over and over."""
        count = len(self.episodes)
        for place in range(step * self.settings.batch, (step + 1) * self.settings.batch):
            round_, index = divmod(place, count)
            order = np.random.default_rng((self.settings.seed, round_)).permutation(count)
            yield int(order[index])


@contextmanager
def _one_episode_a_core() -> Generator[Executor]:
    """Threads of one core each: most operations are too small to be shared by several."""
    cores = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


def _add_up(leaves: Iterable[Tensor], gradients: Iterable[Tensor | None]) -> None:
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
