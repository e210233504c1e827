"""What a search may do to a recipe: one node in fewer bits, or one part of the model pruned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch_mlir import ir

from girih.compiler.compression.hierarchy import Node, block_of, nodes
from girih.compiler.recipe import Pruning, Recipe
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.prune_heads import candidates as head_candidates
from girih.passes.prune_hidden import candidates as hidden_candidates
from girih.passes.pruning.blocks import blocks_of
from girih.passes.pruning.group import Groups
from girih.passes.pruning.selection import Candidate
from girih.passes.quantization.rules import NodeRule

Kind = Literal["bits", "hidden", "heads", "blocks"]
PRUNING: tuple[Kind, ...] = ("hidden", "heads", "blocks")


@dataclass(frozen=True)
class Move:
    """A change that saves something. tower and block say where; label names it in tables."""

    kind: Kind
    label: str
    tower: str
    block: str
    rules: tuple[NodeRule, ...] = ()
    pruning: tuple[Pruning, ...] = ()


def with_moves(base: Recipe, moves: Iterable[Move], name: str | None = None) -> Recipe:
    """The base recipe with moves on top."""
    moves = list(moves)
    return base.model_copy(
        update={
            "name": base.name if name is None else name,
            "rules": (*base.rules, *(rule for move in moves for rule in move.rules)),
            "pruning": (*base.pruning, *(each for move in moves for each in move.pruning)),
        }
    )


def alone(move: Move, base: Recipe) -> Recipe:
    """A recipe that makes one move and leaves all else in float: what the move costs by itself."""
    return Recipe(
        name=move.label,
        weights="float",
        rules=move.rules,
        pruning=move.pruning,
        rounding=base.rounding,
    )


def moves_of(
    graph: ir.Module,
    compilation: Compilation,
    pruning: Sequence[Kind],
    share: float,
    multiple: int,
) -> list[Move]:
    """Every move that a float graph allows, in the order of its operations.

    share: how much of an MLP's channels, or of an attention's heads, one move takes away.
    """
    known = nodes(graph)
    found = [_fewer_bits(node) for node in known]
    towers = {path: node.tower for node in known for path in node.paths}
    groups = Groups(graph, compilation)
    if "hidden" in pruning:
        found += [
            _pruned(
                "hidden",
                home,
                share,
                each,
                towers,
                Pruning(match=home, hidden=share, multiple=multiple),
            )
            for each, home in _homes(hidden_candidates(groups))
        ]
    if "heads" in pruning:
        found += [
            _pruned("heads", home, share, each, towers, Pruning(match=home, heads=share))
            for each, home in _homes(head_candidates(groups))
        ]
    if "blocks" in pruning:
        found += _blocks(graph, towers)
    return found


def _fewer_bits(node: Node) -> Move:
    rules = tuple(NodeRule(match=path, weights=4) for path in node.paths)
    return Move("bits", node.label, node.tower, node.block, rules)


def _homes(candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, str]]:
    """What may go, and the module that all its parts lie in."""
    for candidate in candidates:
        if candidate.group is not None:
            parts = os.path.commonprefix([path.split(".")[:-1] for path in candidate.paths])
            # What a model's outermost code computes itself has no home, but a name.
            yield candidate, ".".join(parts) or candidate.paths[0]


def _pruned(
    kind: Kind,
    home: str,
    share: float,
    candidate: Candidate,
    towers: Mapping[str, str],
    pruning: Pruning,
) -> Move:
    tower = next((towers[path] for path in candidate.paths if path in towers), "")
    label = f"{home}: {share:.0%} of {kind}"
    return Move(kind, label, tower, block_of(f"{home}.x"), pruning=(pruning,))


def _blocks(graph: ir.Module, towers: dict[str, str]) -> list[Move]:
    found: dict[str, Move] = {}
    for function in functions_of(graph):
        outer = ""
        for block in blocks_of(function):
            if outer and block.path.startswith(f"{outer}."):
                continue
            outer = block.path
            tower = next((towers[each] for each in towers if each.startswith(f"{outer}.")), "")
            pruning = (Pruning(match=outer, blocks=1),)
            found.setdefault(
                outer, Move("blocks", f"{outer}: removed", tower, outer, pruning=pruning)
            )
    return list(found.values())
