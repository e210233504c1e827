"""The original model's answers, and how far others are from them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from girih.compiler.adaptation.student import Results
from girih.compiler.differentiable.graph import TorchGraph
from girih.compiler.episodes import Episode

_KEPT_BYTES = 4 << 30
"""Answers up to this are kept; beyond it, an episode's are found again each time."""


class Teacher:
    """The float graph before any pass changed what it computes."""

    def __init__(self, graph: TorchGraph, parameters: Mapping[str, Tensor]) -> None:
        self.graph = graph
        self.parameters = parameters
        self._kept: dict[int, tuple[Results, dict[str, Tensor]]] = {}
        self._room = _KEPT_BYTES
        self._lock = threading.Lock()

    def answers(self, number: int, episode: Episode) -> tuple[Results, dict[str, Tensor]]:
        """Results of each call of the episode of that number, and the states that it leaves."""
        if number in self._kept:
            return self._kept[number]
        with torch.no_grad():
            results, states = self.graph.follow(episode, self.parameters)
        written = {state for call in episode for state in self.graph.writes(call.entry)}
        left = {name: state for name, state in states.items() if name in written}
        size = sum(each.nbytes for outputs in (*results, left.values()) for each in outputs)
        with self._lock:
            if size <= self._room:
                self._kept[number] = results, left
                self._room -= size
        return results, left


def distance(
    found: tuple[Results, Mapping[str, Tensor]],
    expected: tuple[Results, Mapping[str, Tensor]],
    loss: Literal["divergence", "error"],
    states: float,
) -> Tensor:
    """How far a student is from its teacher: the mean over results, and over states.

    States of other shapes, of which heads went, are no measure.
    """
    measure = divergence if loss == "divergence" else error
    results = [
        measure(ours, theirs)
        for outputs, answers in zip(found[0], expected[0], strict=True)
        for ours, theirs in zip(outputs, answers, strict=True)
        if theirs.is_floating_point()
    ]
    left = [
        error(found[1][name], theirs)
        for name, theirs in expected[1].items()
        if name in found[1] and found[1][name].shape == theirs.shape and theirs.is_floating_point()
    ]
    total = torch.zeros(())
    if results:
        total = total + torch.stack(results).mean()
    if left and states:
        total = total + states * torch.stack(left).mean()
    return total


def divergence(found: Tensor, expected: Tensor) -> Tensor:
    """KL(expected || found) of the softmax over the last axis, in nats, the mean over the others.

    Hinton et al. 2015, at temperature 1.
    """
    ours, theirs = (F.log_softmax(each, -1).flatten(0, -2) for each in (found, expected))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def error(found: Tensor, expected: Tensor) -> Tensor:
    """Squared error as a share of the expected values' squares."""
    return (found - expected).square().sum() / expected.square().sum().clamp(min=1e-12)
