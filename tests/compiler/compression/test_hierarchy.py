"""Nodes of the hierarchy: what is one, where it lies, how rules spell it."""

from __future__ import annotations

import torch
from torch import nn
from torch_mlir import ir

from girih.compiler.compilation import import_entries
from girih.compiler.compression.hierarchy import Node, block_of, nodes, tables
from girih.compiler.context import create_context
from girih.compiler.entries import entries_of
from girih.compiler.pipeline import float_passes, run_passes
from girih.passes.base import Compilation


class Attention(nn.Module):
    """Three products of one value, and one of what they lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = (each(x).unsqueeze(1) for each in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return x + self.out(mixed.squeeze(1))


class Model(nn.Module):
    """A tied table of tokens, positions, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(12, 8), nn.Embedding(4, 8)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(Attention() for _ in range(2))})

    def forward(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        hidden = self.tokens(x) + self.positions(places)
        for layer in self.encoder["layers"]:
            hidden = layer(hidden)
        return nn.functional.linear(hidden, self.tokens.weight)


def found() -> tuple[list[Node], set[str]]:
    inputs = (torch.zeros(1, 4, dtype=torch.int64), torch.arange(4)[None])
    with create_context(), ir.Location.unknown():
        graph, parameters = import_entries(
            entries_of(Model().eval(), inputs), (), lambda stage: None
        )
        run_passes(graph, float_passes(), Compilation(parameters))
        return nodes(graph), tables(graph)


def test_nodes_are_products_that_read_one_value_in_one_module() -> None:
    known, looked_up = found()
    assert [node.label for node in known] == [
        "encoder.layers.0.{q, k, v}",
        "encoder.layers.0.out",
        "encoder.layers.1.{q, k, v}",
        "encoder.layers.1.out",
        "tokens",
    ]
    assert known[0].paths == tuple(f"encoder.layers.0.{each}" for each in "qkv")
    assert [node.block for node in known] == [
        *["encoder.layers.0"] * 2,
        *["encoder.layers.1"] * 2,
        "",
    ]
    assert looked_up == {"positions.weight"}


def test_the_block_of_a_module_is_the_numbered_one_around_it() -> None:
    assert block_of("model.layers.3.mlp.fc1") == "model.layers.3"
    assert block_of("layers.3") == ""
    assert block_of("head") == ""
