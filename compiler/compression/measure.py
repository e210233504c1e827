"""What a recipe costs the task: the graph in PyTorch with a recipe's weights, beside its own."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_mlir import ir

from girih.compiler.compression.hierarchy import tables
from girih.compiler.differentiable.graph import TorchGraph
from girih.compiler.episodes import Episode
from girih.compiler.pipeline import copy_module, pruning_passes, run_passes
from girih.compiler.recipe import Recipe
from girih.dialects.arithmetic import GROUP, unpack_groups
from girih.passes.base import Compilation
from girih.passes.differentiable.function import Weights
from girih.passes.functions import functions_by_name
from girih.passes.quantization.groups import pack_rows
from girih.passes.quantization.rules import Precisions, nodes_of
from girih.passes.quantization.weights import quantize_rows
from girih.runtime.errors import CompilationError

Metric = Literal["agreement", "error"]


@dataclass(frozen=True)
class Score:
    """A recipe beside float32, over all calls that return something.

    loss: mean divergence KL(float32, recipe) of the distributions over a result's last axis, in
    nats; or, of results that are no logits, the squared error relative to the squares. agreement:
    how often the largest element is float32's; None where results are no logits.
    """

    loss: float
    agreement: float | None


@dataclass(frozen=True)
class _Known:
    """Of one call: what float32 returns, and its states after it where they are worth keeping."""

    results: list[Tensor]
    states: dict[str, Tensor] | None


class Evaluator:
    """Scores recipes on episodes.

    `graph` is the float graph after `calibrate`, whose findings `compilation` holds: pruning and
    rounding go by them. Weights are those that the recipe's program would have; activations stay
    float, since what they lose depends little on the choice. Smoothing is left out.
    """

    def __init__(
        self,
        graph: ir.Module,
        compilation: Compilation,
        episodes: Sequence[Episode],
        metric: Metric,
    ) -> None:
        if not episodes:
            raise CompilationError("measuring what a recipe costs needs at least one episode")
        self.graph, self.compilation = graph, compilation
        self.metric: Metric = metric
        self.episodes = [tuple(episode) for episode in episodes]
        self._torch = TorchGraph(graph)
        self.names = _names(self._torch)
        self._weights = _tensors(compilation, self.names)
        self._multiplied = _multiplied(graph)
        self._nodes = _nodes(graph)
        self._effective: dict[tuple[str, int, bool], Tensor] = {}
        self._known: list[list[_Known]] = []

    @torch.no_grad()
    def prepare(self) -> None:
        """Let float32 run all episodes; raises `CompilationError` where there is no result."""
        if self._known:
            return
        for episode in self.episodes:
            counts = Counter(call.entry for call in episode)
            states: Mapping[str, Tensor] = self._torch.states
            known: list[_Known] = []
            for call in episode:
                results, after = self._torch.run(call, states, self._weights)
                # A cache that grows token by token would be kept once for each.
                kept = after if counts[call.entry] == 1 else None
                known.append(_Known(results, kept))
                states = after
            self._known.append(known)
        if not any(each.results for known in self._known for each in known):
            raise CompilationError("no call of an episode returns anything but states")

    @torch.no_grad()
    def score(self, recipe: Recipe) -> Score:
        """The recipe's loss and agreement."""
        self.prepare()
        graph, weights, changed = self._with(recipe)
        total = _Total(self.metric)
        for episode, known in zip(self.episodes, self._known, strict=True):
            states: dict[str, Tensor] = dict(graph.states)
            stale = set[str]()
            for call, expected in zip(episode, known, strict=True):
                is_same = not (graph.parameters(call.entry) & changed) and not (
                    graph.reads(call.entry) & stale
                )
                if is_same and expected.states is not None and graph is self._torch:
                    results, states = expected.results, dict(expected.states)
                else:
                    before = states
                    results, states = graph.run(call, states, weights)
                    stale.update(name for name in states if states[name] is not before.get(name))
                for found, wanted in zip(results, expected.results, strict=True):
                    total.add(wanted, found)
        return total.score()

    def weight_errors(self, recipe: Recipe) -> float:
        """Squared error of the weights that the recipe rounds, relative to their squares.

        What a search goes by that does not run the model.
        """
        _, weights, changed = self._with(recipe)
        lost = whole = 0.0
        for name in changed & set(self._weights):
            original = self._weights[name]
            lost += float((weights[name] - original).square().sum())
            whole += float(original.square().sum())
        return lost / whole if whole else 0.0

    def _with(self, recipe: Recipe) -> tuple[TorchGraph, dict[str, Tensor], frozenset[str]]:
        """The graph, its weights, and which of them are not float32's, with a recipe."""
        if not recipe.pruning:
            return self._rounded(recipe, self._torch, self._weights, self._multiplied, self._nodes)
        compilation = dataclasses.replace(
            self.compilation,
            **{
                field.name: dict(getattr(self.compilation, field.name))
                for field in dataclasses.fields(Compilation)
                if isinstance(getattr(self.compilation, field.name), dict)
            },
        )
        with self.graph.context, ir.Location.unknown():
            graph = copy_module(self.graph)
            run_passes(graph, pruning_passes(recipe), compilation)
            pruned = TorchGraph(graph)
        weights = {
            name: self._weights[name]
            if compilation.parameters[name] is self.compilation.parameters.get(name)
            else tensor
            for name, tensor in _tensors(compilation, _names(pruned)).items()
        }
        return self._rounded(recipe, pruned, weights, _multiplied(graph), _nodes(graph))

    def _rounded(
        self,
        recipe: Recipe,
        graph: TorchGraph,
        weights: Mapping[str, Tensor],
        multiplied: set[str],
        nodes: Mapping[str, frozenset[str]],
    ) -> tuple[TorchGraph, dict[str, Tensor], frozenset[str]]:
        precisions = Precisions(recipe.weights, recipe.rules, nodes)
        rounded = dict(weights)
        for name in multiplied:
            bits = precisions.of(name)
            if bits != "float":
                rounded[name] = self._at(name, weights[name], bits, recipe.compensates)
        changed = {
            name for name, tensor in rounded.items() if tensor is not self._weights.get(name)
        }
        return graph, rounded, frozenset(changed)

    def _at(self, name: str, weight: Tensor, bits: int, compensates: bool) -> Tensor:
        """What the program multiplies with in place of a weight."""
        if weight.shape[-1] % GROUP:
            bits = 8  # as quantize does: no whole groups
        is_own = weight is self._weights.get(name)
        key = (name, bits, compensates and bits == 4)
        if is_own and key in self._effective:
            return self._effective[key]
        array = weight.numpy().astype(np.float64)
        integers, scale = quantize_rows(array, None, 1.0)
        if bits == 4:
            correlation = self.compilation.correlations.get(name) if is_own else None
            integers = unpack_groups(pack_rows(array, scale, correlation, compensates))
        result = torch.from_numpy((integers * scale[:, None]).astype(np.float32))
        if is_own:
            self._effective[key] = result
        return result


class _Total:
    """Sums over the rows of all results."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.rows = self.agreed = 0
        self.divergence = self.lost = self.whole = 0.0

    def add(self, expected: Tensor, found: Tensor) -> None:
        """Count one result, float32's and the recipe's."""
        if not expected.is_floating_point():
            return
        if expected.shape != found.shape:
            raise CompilationError(
                f"a result has shape {list(found.shape)} with this recipe, and "
                f"{list(expected.shape)} without"
            )
        if self.metric == "error":
            self.lost += float((found - expected).double().square().sum())
            self.whole += float(expected.double().square().sum())
            return
        rows = expected.reshape(-1, expected.shape[-1])
        others = found.reshape(-1, found.shape[-1])
        ours, theirs = torch.log_softmax(rows.double(), -1), torch.log_softmax(others.double(), -1)
        self.divergence += float((ours.exp() * (ours - theirs)).sum())
        self.agreed += int((rows.argmax(-1) == others.argmax(-1)).sum())
        self.rows += len(rows)

    def score(self) -> Score:
        """The means."""
        if self.metric == "error":
            return Score(self.lost / self.whole if self.whole else math.nan, None)
        if not self.rows:
            raise CompilationError("no result of the episodes is a float: nothing can agree")
        return Score(max(self.divergence / self.rows, 0.0), self.agreed / self.rows)


def _tensors(compilation: Compilation, names: set[str]) -> dict[str, Tensor]:
    weights = Weights(compilation.parameters)
    return {name: weights[name] for name in names}


def _names(graph: TorchGraph) -> set[str]:
    return {name for entry in graph.entries for name in graph.parameters(entry)}


def _nodes(graph: ir.Module) -> dict[str, frozenset[str]]:
    return nodes_of(functions_by_name(graph).values())


def _multiplied(graph: ir.Module) -> set[str]:
    return set(_nodes(graph)) - tables(graph)


def float16_bytes(parameters: Mapping[str, NDArray[Any]], names: Sequence[str]) -> int:
    """What the float weights of a graph take in half precision."""
    return sum(2 * parameters[name].size for name in names if parameters[name].dtype.kind == "f")
