"""Rules: which of several patterns counts for a node."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from girih.passes.quantization.rules import NodeRule, Precisions
from girih.runtime.errors import CompilationError

RULES = (
    NodeRule(match="decoder", weights=4),
    NodeRule(match="decoder.layers.*.fc?", weights=8),
    NodeRule(match="decoder.layers.3", weights="float"),
    NodeRule(match="*.out_proj", weights=4),
)


def precisions(*nodes: str, rules: tuple[NodeRule, ...] = RULES) -> Precisions:
    return Precisions(8, rules, {node: frozenset({node}) for node in nodes})


@pytest.mark.parametrize(
    ("node", "weights"),
    [
        ("encoder.layers.0.fc1", 8),  # no rule
        ("decoder.embed_tokens", 4),  # below a node that matches
        ("decoder.layers.0.fc1", 8),  # the longer pattern
        ("decoder.layers.3.fc1", 8),  # fc? spells out more than layers.3
        ("decoder.layers.3.q_proj", "float"),
        ("encoder.layers.0.out_proj", 4),
        ("decoders.fc1", 8),  # a name that only begins alike
    ],
)
def test_the_most_specific_rule_wins(node: str, weights: object) -> None:
    assert precisions(node).of(node) == weights


def test_of_equals_the_last_counts() -> None:
    rules = (NodeRule(match="a.?", weights=4), NodeRule(match="?.b", weights="float"))
    assert precisions("a.b", rules=rules).of("a.b") == "float"


@pytest.mark.parametrize(
    ("node", "weights", "activations"),
    [
        ("encoder.fc1", 8, 8),  # no rule
        ("decoder.layers.0.fc1", 4, 16),  # both of the wider rule
        ("decoder.layers.0.fc2", 4, 8),  # the longer rule says nothing of weights
        ("decoder.layers.3.fc1", "float", 16),
    ],
)
def test_each_field_is_decided_by_the_most_specific_rule_that_says_it(
    node: str, weights: object, activations: int
) -> None:
    rules = (
        NodeRule(match="decoder.layers.*.fc2", activations=8),
        NodeRule(match="decoder.layers.3", weights="float"),
        NodeRule(match="decoder", weights=4, activations=16),
    )
    found = precisions(node, rules=rules)
    assert (found.of(node), found.of_input(node)) == (weights, activations)


def test_where_no_rule_says_activations_those_of_the_recipe_hold() -> None:
    nodes = {"a": frozenset({"a"})}
    rules = (NodeRule(match="a", weights=4),)
    assert Precisions(8, rules, nodes, 16).of_input("a") == 16
    equal = (NodeRule(match="a", activations=16), NodeRule(match="a", activations=8))
    assert Precisions(8, equal, nodes, 16).of_input("a") == 8


def test_a_rule_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected weights, activations or both"):
        NodeRule(match="decoder")


def test_rules_that_hold_for_nothing_are_refused() -> None:
    with pytest.raises(CompilationError, match=r"or convolution lies in 'decoder.layers.3'"):
        precisions("decoder.layers.0.fc1", "encoder.out_proj").check()


def test_what_modules_share_belongs_to_each() -> None:
    """A rule may name either; as a weight has one precision, the more specific one counts."""
    nodes = {"head.weight": frozenset({"head", "decoder.embed_tokens"})}
    assert Precisions(8, RULES, nodes).of("head.weight") == 4
    rules = (*RULES, NodeRule(match="hea?", weights=8))
    assert Precisions(8, rules, nodes).of("head.weight") == 4
    rules = (*RULES, NodeRule(match="head", weights="float"), NodeRule(match="dec*", weights=8))
    assert Precisions(8, rules, nodes).of("head.weight") == 4
