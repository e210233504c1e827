"""The pruning passes on models as they are exported: fewer products, less time, same meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.compilation import import_entries
from girih.compiler.context import create_context
from girih.compiler.costs import cost, is_work
from girih.compiler.entries import entries_of
from girih.compiler.pipeline import Dump, copy_module, graph_passes, run_passes
from girih.compiler.recipe import Recipe
from girih.compiler.timing import time_graph
from girih.passes.assume_ranges import AssumeRanges
from girih.passes.base import Compilation, Pass
from girih.passes.calibrate import Calibrate
from girih.passes.interpreter import function_named, interpret
from girih.passes.prune_heads import PruneHeads
from girih.passes.prune_hidden import PruneHidden
from girih.passes.quantize import Quantize
from girih.passes.remove_blocks import RemoveBlocks
from girih.runtime.target import Target


class Whisper(torch.nn.Module):
    """Encoder and one pass of the decoder."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {
            f"{part}_{name}": value
            for part in ("encoder", "decoder")
            for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 64}.items()
        }
        config = hf.WhisperConfig(
            d_model=32,
            vocab_size=50,
            num_mel_bins=8,
            max_source_positions=16,
            max_target_positions=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            **sizes,
        )
        self.model = hf.WhisperModel(config).eval()

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(features, decoder_input_ids=tokens, use_cache=False).last_hidden_state


INPUTS = (
    torch.from_numpy(np.random.default_rng(0).standard_normal((1, 8, 32), np.float32)),
    torch.tensor([[1, 2, 3, 4]]),
)


class Graph:
    """A float graph of the model, with passes applied to it."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.context = create_context()
        with self.context, ir.Location.unknown():
            entries = entries_of(model, INPUTS)
            self.module, parameters = import_entries(entries, (), lambda stage: None)
            self.inputs = [tensor.numpy() for tensor in INPUTS]
            examples = {"main": [self.inputs]}
            self.compilation = Compilation(parameters, Target.load("small"), examples)
        self.apply(*graph_passes(Recipe.load("float")))

    def apply(self, *passes: Pass) -> None:
        with self.context, ir.Location.unknown():
            run_passes(self.module, passes, self.compilation)

    @property
    def function(self) -> func.FuncOp:
        return function_named(self.module, "main")

    def run(self) -> Any:
        (found,) = interpret(self.function, self.inputs, self.compilation.parameters)
        return found

    def macs(self) -> int:
        return sum(cost(op).macs for op in self.function.entry_block.operations if is_work(op))

    def cycles(self) -> int:
        """Of the graph as it is, quantized; the graph stays float."""
        with self.context, ir.Location.unknown():
            module = copy_module(self.module)
            compilation = Compilation(dict(self.compilation.parameters), self.compilation.target)
            run_passes(module, [AssumeRanges(), Quantize()], compilation)
            return time_graph(module, ["main"], compilation, Dump(), lambda name: None)[
                "main"
            ].cycles


@pytest.fixture(scope="module")
def model() -> Whisper:
    return Whisper()


def test_each_pass_saves_products_and_time(model: Whisper) -> None:
    """Observe once, prune thrice, observe again; the graph still runs and quantizes."""
    graph = Graph(model)
    graph.apply(Calibrate())
    shape = graph.run().shape
    macs, cycles = [graph.macs()], [graph.cycles()]
    for each in (
        RemoveBlocks(count=1, match="model.encoder.layers.*"),
        PruneHeads(share=0.5),
        PruneHidden(share=0.5, multiple=16),
    ):
        graph.apply(each)
        macs.append(graph.macs())
        cycles.append(graph.cycles())
        assert graph.run().shape == shape
    assert macs == sorted(macs, reverse=True)
    assert len(set(macs)) == 4
    assert cycles == sorted(cycles, reverse=True)
    assert len(set(cycles)) == 4
    graph.apply(Calibrate(), Quantize())
    assert "integer_attention" in str(graph.module)


def zero_columns(layer: torch.nn.Linear, columns: Sequence[int]) -> None:
    with torch.no_grad():
        layer.weight[:, list(columns)] = 0


def test_what_nothing_reads_changes_nothing() -> None:
    """Heads and channels whose output weights are 0, and a block whose branches add nothing."""
    model = Whisper()
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        zero_columns(layer.fc2, range(5, 21))
        zero_columns(layer.self_attn.out_proj, range(8, 16))
    for layer in model.model.decoder.layers:
        zero_columns(layer.encoder_attn.out_proj, range(24, 32))
    last = model.model.encoder.layers[1]
    with torch.no_grad():
        for each in (last.fc2, last.self_attn.out_proj):
            each.weight.zero_()
            each.bias.zero_()
        expected = model(*INPUTS).numpy()
    graph = Graph(model)
    graph.apply(
        Calibrate(),
        RemoveBlocks(count=1, match="*.encoder.layers.*"),
        PruneHeads(share=0.25),
        PruneHidden(share=0.25),
    )
    names = [
        op.operation.attributes["parameter"].value
        for op in graph.function.entry_block.operations
        if op.operation.name == "mfm.parameter"
    ]
    assert not any(".encoder.layers.1." in name for name in names)
    # Of one encoder layer and two decoder layers: 5 attentions, 3 MLPs. Keys have no bias.
    assert sum(name.endswith(".pruned") for name in names) == 5 * 6 + 3 * 3
    np.testing.assert_allclose(graph.run(), expected, rtol=1e-4, atol=1e-5)
