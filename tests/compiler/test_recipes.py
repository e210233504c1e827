"""Recipes: what they may say, and that every device computes the same whatever they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

import girih
from girih.compiler.recipe import Pruning
from girih.passes.quantization.rules import NodeRule
from girih.runtime.target import Sparsity


class Block(nn.Module):
    """A residual MLP, pre-norm, as towers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(64), nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


class Model(nn.Module):
    """Token embeddings that are the last layer's weights too, positions, a convolution, blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.positions, self.mix = nn.Embedding(12, 64), nn.Conv1d(64, 64, 3, padding=1)
        self.embed = nn.Embedding(50, 64)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.positions.weight
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


TOKENS = torch.arange(12)[None] * 4
NODES = ["blocks", "blocks.0", "blocks.*.fc1", "blocks.1.fc2", "embed", "mix", "*"]
RECIPES = st.builds(
    girih.Recipe,
    name=st.just("random"),
    weights=st.sampled_from([4, 8]),
    activations=st.sampled_from([8, 8, 16]),
    rules=st.lists(
        st.builds(
            NodeRule,
            match=st.sampled_from(NODES),
            weights=st.sampled_from([4, 4, 8, "float"]),
            activations=st.sampled_from([None, 8, 16]),
        ),
        max_size=3,
    ).map(tuple),
    smoothing=st.sampled_from([0.0, 0.5]),
    rounding=st.sampled_from(["nearest", "compensated"]),
    tables=st.sampled_from([8, 16]),
    scaling=st.sampled_from(["smoothing", "activation-aware"]),
    ranges=st.sampled_from(["largest", "percentile", "mse"]),
    percentile=st.sampled_from([90.0, 99.99]),
)


def tries(count: int) -> Any:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def compare(
    model: Model, recipe: girih.Recipe, target: str | girih.Target = "small"
) -> girih.Program:
    program = girih.compile(model, (TOKENS,), target=target, recipe=recipe)
    on_host, simulated = program(TOKENS), program.simulate(TOKENS).outputs
    expected = program.reference(TOKENS)
    has_floats = any(rule.weights == "float" for rule in recipe.rules)
    for one, other, third in zip(on_host, simulated, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        # NumPy and IREE add floats in other orders.
        np.testing.assert_allclose(one, third, atol=1.0 if has_floats else 0, rtol=0)
    return program


def test_every_device_computes_the_same_of_16_bits(model: Model) -> None:
    """Everywhere but in one node: what both widths read, convolutions, 4 bits, tied weights."""
    rules = (NodeRule(match="blocks.1.fc1", activations=8), NodeRule(match="embed", weights=4))
    compare(model, girih.Recipe(name="wide", activations=16, rules=rules))


@tries(4)
@given(recipe=RECIPES)
def test_every_device_computes_the_same(model: Model, recipe: girih.Recipe) -> None:
    compare(model, recipe)


@pytest.mark.slow
@tries(40)
@given(recipe=RECIPES)
def test_every_device_computes_the_same_of_many(model: Model, recipe: girih.Recipe) -> None:
    compare(model, recipe)


def test_4_bits_halve_the_weights_and_keep_the_values(model: Model) -> None:
    eager = model(TOKENS).detach().numpy()
    programs = {
        name: girih.compile(model, (TOKENS,), target="small", recipe=name)
        for name in ("w8a8", "w4a8")
    }
    errors = {
        name: float(np.abs(program(TOKENS)[0] - eager).max() / np.abs(eager).max())
        for name, program in programs.items()
    }
    assert errors["w8a8"] < 0.03
    assert errors["w4a8"] < 0.2
    read = {name: each.simulate(TOKENS).report.dram_read_bytes for name, each in programs.items()}
    assert read["w4a8"] < 0.75 * read["w8a8"]


def test_a_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text("name: mixed\nweights: 4\nrules:\n  - {match: encoder, weights: 8}\n")
    rules = (NodeRule(match="encoder", weights=8),)
    assert girih.Recipe.load(path) == girih.Recipe(name="mixed", weights=4, rules=rules)


def test_16_bits_of_activations_cost_the_products_of_their_node_twice(model: Model) -> None:
    rule = NodeRule(match="blocks.0.fc1", activations=16)
    macs = {
        each.name: girih.compile(model, (TOKENS,), target="small", recipe=each)
        .simulate(TOKENS)
        .report.macs
        for each in (girih.Recipe(name="narrow"), girih.Recipe(name="wide", rules=(rule,)))
    }
    assert macs["wide"] - macs["narrow"] == 12 * 64 * 128


def test_no_node_that_stays_float_is_quantized_by_a_rule_for_activations() -> None:
    rules = (NodeRule(match="encoder", activations=16),)
    assert not girih.Recipe(name="x", weights="float", rules=rules).quantized


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: x\nweights: 5", "weights"),
        ("name: x\nrules: [{match: a, bits: 4}]", "bits"),
        ("name: x\nrules: [{match: '', weights: 4}]", "match"),
        ("name: x\nrules: [{match: a}]", "expected weights, activations or both"),
        ("name: x\nactivations: 4", "activations"),
        ("name: x\npruning: [{match: a}]", "exactly one of hidden, heads, blocks"),
        ("name: x\npruning: [{hidden: 0.5, blocks: 1}]", "exactly one of hidden, heads, blocks"),
        ("name: x\npruning: [{hidden: 1.0}]", "less than 1"),
        ("name: x\nranges: median", "ranges"),
        ("name: x\npercentile: 0", "greater than 0"),
        ("name: x\nscaling: none", "scaling"),
        ("- 1", "dictionary"),
        ("name: [", "recipe"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(girih.CompilationError, match=problem):
        girih.Recipe.load(path)


def test_a_rule_for_nothing_is_refused(model: Model) -> None:
    recipe = girih.Recipe(name="x", rules=(NodeRule(match="decoder", weights=4),))
    with pytest.raises(girih.CompilationError, match="or convolution lies in 'decoder'"):
        girih.compile(model, (TOKENS,), recipe=recipe)


def test_what_is_pruned_costs_nothing(model: Model) -> None:
    """Half of the channels of one block and all of the other: the same integers everywhere."""
    pruning = (
        Pruning(match="blocks.0", hidden=0.5, multiple=32),
        Pruning(match="blocks.*", blocks=1),
    )
    recipe = girih.Recipe(name="pruned", weights=4, pruning=pruning[1:])
    compare(model, recipe)
    smaller = girih.Recipe(name="smaller", pruning=pruning[:1])
    macs = {
        each.name: girih.compile(model, (TOKENS,), target="small", recipe=each)
        .simulate(TOKENS)
        .report.macs
        for each in (girih.Recipe(name="whole"), smaller, recipe)
    }
    mlp = 2 * 12 * 64 * 128
    assert macs["whole"] - macs["smaller"] == mlp // 2
    assert macs["whole"] - macs["pruned"] == mlp


def test_sparse_weights_are_refused_where_the_target_declares_none(model: Model) -> None:
    recipe = girih.Recipe(name="x", pruning=(Pruning(sparsity=True),))
    with pytest.raises(girih.CompilationError, match="target 'small' declares none"):
        girih.compile(model, (TOKENS,), target="small", recipe=recipe)


def test_sparse_weights_are_computed_the_same(model: Model) -> None:
    """Beside other pruning, in groups of 4 bits that make up for each other's errors."""
    small = girih.Target.load("small")
    array = small.array.model_copy(update={"sparsity": Sparsity(keep=2, of=4)})
    pruning = (Pruning(match="blocks", sparsity=True), Pruning(match="blocks.0", hidden=0.5))
    recipe = girih.Recipe(name="x", weights=4, pruning=pruning)
    target = small.model_copy(update={"array": array})
    program = compare(model, recipe, target)
    rules = {row.path: row.rule for row in program.recipe_table.rows}
    assert rules["blocks.0.fc1"] == rules["blocks.1.fc2"] == "default: 4, sparse"
    assert rules["head"] == "default: 4"


def test_a_float_program_is_pruned_too(model: Model) -> None:
    recipe = girih.Recipe(name="float", weights="float", pruning=(Pruning(hidden=0.5),))
    program = girih.compile(model, (TOKENS,), recipe=recipe)
    eager = model(TOKENS).detach().numpy()
    found = program(TOKENS)[0]
    assert 0 < np.abs(found - eager).max() < np.abs(eager).max()
