"""Which precision the nodes of a model's hierarchy get: of rules, the most specific wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.arithmetic import GROUP
from girih.dialects.mfm import Conv1dOp, EmbeddingOp, LinearOp, ParameterOp
from girih.passes.locations import lies_in
from girih.passes.matching import defined_by
from girih.runtime.errors import CompilationError

Weights = Literal[4, 8, "float"]
"""Bits of a weight; ``float`` leaves the operation on the host."""
Activations = Literal[8, 16]
"""Bits of the input that a weight is multiplied with."""


class NodeRule(BaseModel):
    """What holds for the nodes that a pattern matches, and for all below them.

    match: a module's path, with ``*`` and ``?`` as in file names (``model.decoder.layers.*.fc1``).
    weights: bits of the weights of linear operations, of the tables that share them, and of
    convolutions. activations: bits of what those weights are multiplied with. A rule says one of
    the two, or both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str = Field(min_length=1)
    weights: Weights | None = None
    activations: Activations | None = None

    @model_validator(mode="after")
    def _says_something(self) -> NodeRule:
        if self.weights is None and self.activations is None:
            raise ValueError("expected weights, activations or both")
        return self

    @property
    def specificity(self) -> int:
        """How much of a path the pattern spells out."""
        return sum(letter not in "*?" for letter in self.match)

    def holds_for(self, node: str) -> bool:
        """Whether a node, or one that it lies in, matches."""
        return lies_in(node, self.match)


@dataclass(frozen=True)
class Precisions:
    """The rules of a recipe, over what holds where none does.

    nodes: by the name of each weight, the modules that it belongs to: its own, and those that share
    it (a table of tokens that is the last layer's weight too). Of rules that are as specific, the
    last one counts; what a rule says nothing of, it leaves to others.
    """

    weights: Weights
    rules: tuple[NodeRule, ...]
    nodes: Mapping[str, frozenset[str]]
    activations: Activations = 8

    def of(self, weight: str) -> Weights:
        """Bits of a weight."""
        rule = self.rule_for(weight)
        return self.weights if rule is None or rule.weights is None else rule.weights

    def bits(self, weight: str, depth: int) -> int:
        """4 or 8 for a weight that becomes integers; 8 where rows are no whole groups of 4 bits."""
        return 4 if depth % GROUP == 0 and self.of(weight) == 4 else 8

    def rule_for(self, weight: str) -> NodeRule | None:
        """The rule that says the bits of a weight, if any; of those as specific, the last one."""
        found = [rule for rule in self._rules_for(weight) if rule.weights is not None]
        return found[-1] if found else None

    def of_input(self, weight: str) -> Activations:
        """Bits of what a weight is multiplied with."""
        bits = self.activations
        for rule in self._rules_for(weight):
            bits = bits if rule.activations is None else rule.activations
        return bits

    def _rules_for(self, weight: str) -> list[NodeRule]:
        """The rules that hold for a weight, the one that counts most last."""
        found = [rule for rule in self.rules if any(map(rule.holds_for, self.nodes[weight]))]
        return sorted(found, key=lambda rule: rule.specificity)

    def check(self) -> None:
        """Refuse rules that hold for nothing: spelled wrong, or of another model."""
        every = sorted(node for nodes in self.nodes.values() for node in nodes)
        for rule in self.rules:
            if not any(map(rule.holds_for, every)):
                some = ", ".join(every[:3]) + (", ..." if len(every) > 3 else "")
                raise CompilationError(
                    f"no linear operation or convolution lies in {rule.match!r}; "
                    f"there are {some or 'none'}"
                )


def nodes_of(functions: Iterable[func.FuncOp]) -> dict[str, frozenset[str]]:
    """The modules that the weight of each linear operation and convolution belongs to."""
    found: dict[str, set[str]] = {}
    tables: dict[str, set[str]] = {}
    for function in functions:
        for op in function.entry_block.operations:
            if isinstance(op, LinearOp | Conv1dOp):
                parameter, known = defined_by(op.weight, ParameterOp), found
            elif isinstance(op, EmbeddingOp):
                parameter, known = defined_by(op.table, ParameterOp), tables
            else:
                continue
            if parameter is not None:
                name = parameter.parameter.value
                nodes = known.setdefault(name, {name.partition(".weight")[0]})
                if isinstance(op.location, ir.NameLoc):
                    nodes.add(op.location.name_str)
    return {name: frozenset(nodes | tables.get(name, set())) for name, nodes in found.items()}
