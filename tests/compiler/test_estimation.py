"""Estimates are the reports of compiled programs, from shapes alone."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

import girih
from tests.models.generators import EXAMPLES


def on_meta(model: Any) -> Any:
    """A model of the same configuration that has no weights."""
    with torch.device("meta"):
        return type(model)(model.config).eval()


def without_pixels(prompt: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A prompt whose floats have no values."""
    return {k: v.to("meta") if v.is_floating_point() else v for k, v in prompt.items()}


def mlp() -> nn.Module:
    return nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 64)).eval()


@pytest.mark.parametrize("target", ["edge", "small"])
def test_a_module_on_the_meta_device_costs_what_the_compiled_one_does(target: str) -> None:
    inputs = (torch.randn(2, 8, 64),)
    program = girih.compile(mlp(), inputs, target=target)
    with torch.device("meta"):
        module, shapes = mlp(), (torch.empty(2, 8, 64),)
    report = girih.estimate(module, shapes, target=target)
    assert report.cycles > 0
    assert report == program.simulate(*inputs).report
    assert all(each.is_meta for each in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_llama_shaped_model_costs_the_same_with_and_without_weights(dtype: torch.dtype) -> None:
    config = hf.LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=99,
    )
    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(config).to(dtype).eval()
    inputs = {"input_ids": torch.tensor([[1, 5, 7, 9, 2, 4]]), "use_cache": False}
    expected = girih.compile(model, inputs)["main"].cost().report
    empty = on_meta(model).to(dtype)
    assert girih.estimate(empty, inputs).to_dict() == expected.to_dict()
    assert girih.estimate(model, inputs).to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    "name",
    [
        "Whisper",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("LLaVA", "SmolVLM", "Qwen2-VL")),
    ],
)
def test_a_generator_costs_the_same_with_and_without_weights(name: str) -> None:
    model, prompt = EXAMPLES[name]()
    generator = girih.compile_generator(model, prompt, cache_length=32)
    expected = {each: generator.program[each].cost().report.to_dict() for each in generator.program}
    found = girih.estimate_generator(on_meta(model), without_pixels(prompt), cache_length=32)
    assert {each: report.to_dict() for each, report in found.items()} == expected


def test_several_entries_are_reported_by_name() -> None:
    module = mlp()
    reports = girih.estimate(
        {"one": (module, (torch.randn(1, 64),)), "many": (module, (torch.randn(64, 64),))}
    )
    assert list(reports) == ["one", "many"]
    assert reports["one"].cycles < reports["many"].cycles


def test_weights_take_no_memory() -> None:
    """A layer of 4 GB of weights: its estimate may not even take a tenth of that."""
    with torch.device("meta"):
        module = nn.Linear(1 << 15, 1 << 15)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = girih.estimate(module, (torch.empty(1, 1 << 15, device="meta"),))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert report.dram_read_bytes > 1 << 30
    assert grown < 400e6


def test_a_model_that_does_not_fit_is_refused() -> None:
    target = girih.Target.load("edge")
    dram = target.dram.model_copy(update={"capacity_bytes": 4096})
    with pytest.raises(girih.CompilationError, match="bytes of DRAM"):
        girih.estimate(
            mlp(), (torch.randn(1, 64),), target=target.model_copy(update={"dram": dram})
        )
