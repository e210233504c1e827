"""The table of what a recipe came to: real bits and bytes, and which rule decided."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn
from torch_mlir import ir

from girih.compiler.compilation import import_entries
from girih.compiler.context import create_context
from girih.compiler.entries import entries_of
from girih.compiler.pipeline import graph_passes, run_passes
from girih.compiler.recipe import Pruning, Recipe
from girih.compiler.recipe_table import RecipeTable, Row
from girih.compiler.resolution import recipe_table
from girih.passes.base import Compilation
from girih.passes.quantization.rules import NodeRule
from girih.runtime.target import Target


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


class Model(nn.Module):
    """A tied table, positions that are added, a convolution, numbered blocks, an odd row."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(50, 32), nn.Embedding(6, 32)
        self.mix = nn.Conv1d(32, 32, 3, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(4))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight
        self.odd = nn.Linear(50, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.positions.weight
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.odd(self.head(self.norm(x)))


def resolved(**options: Any) -> RecipeTable:
    torch.manual_seed(0)
    recipe = Recipe(name="mixed", **options)
    with create_context(), ir.Location.unknown():
        entries = entries_of(Model().eval(), (torch.arange(6)[None],))
        graph, parameters = import_entries(entries, (), lambda stage: None)
        imported = dict(parameters)
        examples = {"main": [[tensor.numpy() for tensor in entries["main"].tensors]]}
        compilation = Compilation(parameters, Target.load("small"), examples)
        run_passes(graph, graph_passes(recipe), compilation)
        used = {
            op.operation.attributes["parameter"].value
            for op in graph.body.operations[0].entry_block.operations
            if op.operation.name == "mfm.parameter"
        }
        stored = {name: compilation.parameters[name] for name in used}
        return recipe_table(graph, recipe, imported, stored)


def by_path(table: RecipeTable) -> dict[str, Row]:
    return {row.path: row for row in table.collapsed()}


def test_bits_are_those_of_the_graph_and_the_rule_is_named() -> None:
    rules = (
        NodeRule(match="blocks.1", weights=8),
        NodeRule(match="blocks.*.fc2", weights="float"),
        NodeRule(match="embed", weights=8),
    )
    rows = by_path(resolved(weights=4, rules=rules))
    found = {path: (row.kind, row.bits, row.rule, row.bytes) for path, row in rows.items()}
    groups = 64 * 17  # a row of 32 weights of 4 bits takes 17 bytes
    assert found == {
        "head": ("tied table", "8", "embed: 8", 50 * 32),
        "positions": ("table", "16", "tables: 16", 6 * 32 * 2),
        "mix": ("convolution", "4", "default: 4", 32 * 3 * 17),
        "blocks.0,2-3.fc1": ("linear", "4", "default: 4", 3 * groups),
        "blocks.1.fc1": ("linear", "8", "blocks.1: 8", 64 * 32),
        "blocks.0-3.fc2": ("linear", "float32", "blocks.*.fc2: float", 4 * 32 * 64 * 4),
        # The rule asks for 4 bits; rows of 50 are no whole groups.
        "odd": ("linear", "8", "default: 4", 150),
    }


def test_what_is_pruned_is_seen_to_be_gone() -> None:
    pruning = (Pruning(match="blocks.*", blocks=1), Pruning(match="blocks", hidden=0.5))
    rows = resolved(pruning=pruning).rows
    gone = [row for row in rows if row.kind == "removed"]
    assert [row.path.split(".")[2] for row in gone] == ["fc1", "fc2"]
    assert {(row.rule, row.bytes) for row in gone} == {("blocks.*: blocks", 0)}
    shrunk = [row for row in rows if row.path.endswith("fc1") and row not in gone]
    assert [(row.shape, row.imported) for row in shrunk] == [((32, 32), (64, 32))] * 3


def test_the_sum_counts_all_bytes_once() -> None:
    table = resolved()
    whole = sum(math.prod(row.imported) for row in table.rows)
    assert table.bytes == sum(row.bytes for row in table.collapsed())
    # 8 bits, and positions 16.
    assert table.share_of_float16 == pytest.approx((whole + 6 * 32) / (2 * whole))
    assert table.other_bytes > 0


def test_a_float_recipe_has_no_rules() -> None:
    table = resolved(weights="float")
    assert {(row.bits, row.rule) for row in table.rows} == {("float32", "default: float")}
    assert table.share_of_float16 == 2


ROW = Row("x", "linear", (4, 8), (4, 8), "8", "default: 8", 32)


def test_experts_within_layers_are_one_row() -> None:
    paths = [f"layers.{i}.experts.{j}.up" for i in range(3) for j in range(2)]
    rows = [replace(ROW, path=path) for path in (*paths, "layers.7.experts.1.up", "head")]
    collapsed = RecipeTable("r", tuple(rows), 0).collapsed()
    assert [(row.path, row.count, row.bytes) for row in collapsed] == [
        ("layers.0-2.experts.0-1.up", 6, 192),
        ("layers.7.experts.1.up", 1, 32),
        ("head", 1, 32),
    ]


def test_siblings_that_differ_stay_apart() -> None:
    rows = (replace(ROW, path="a.0.b"), replace(ROW, path="a.1.b", bits="4", bytes=17))
    assert len(RecipeTable("r", rows, 0).collapsed()) == 2


def test_no_weights_at_all() -> None:
    table = RecipeTable("r", (), 0)
    assert table.collapsed() == ()
    assert table.share_of_float16 == 1


def test_it_is_printed_with_its_shapes() -> None:
    rows = (replace(ROW, path="a.[x]", shape=(2, 8)), replace(ROW, path="b", kind="removed"))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(RecipeTable("r", rows, 0).table())
    text = console.export_text()
    assert "a.[x]" in text
    assert "2x8 of 4x8" in text
    assert "all 1" in text
