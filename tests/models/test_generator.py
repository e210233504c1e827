"""Compiled generation says what the model says, and refuses what it cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor

import girih
from girih.compiler.entries import Entry
from girih.compiler.generation.decoder_only import DecoderOnly
from girih.compiler.generation.encoder_decoder import EncoderDecoder
from girih.runtime.errors import CompilationError
from girih.runtime.prompting import Generation, PromptPlan, Sampling
from tests.models.generators import EXAMPLES

NEW = 20


class EagerSession:
    """Entry points as the modules that they are compiled from, states kept here."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.states: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Any:
        entry = self.entries[name]

        def call(*inputs: Any) -> tuple[np.ndarray, ...]:
            given = iter(inputs)
            arguments = [
                self.states[entry.reads[index]]
                if index in entry.reads
                else torch.from_numpy(np.asarray(next(given)))
                for index in range(len(entry.tensors))
            ]
            with torch.no_grad():
                results: Any = entry.module(*arguments)  # type: ignore[operator]
            results = [results] if isinstance(results, Tensor) else list(results)
            self.states.update({state: results[index] for index, state in entry.writes.items()})
            return tuple(r.numpy() for i, r in enumerate(results) if i not in entry.writes)

        return call


def parts_of(model: Any, prompt: Any, lengths: tuple[int, ...]) -> DecoderOnly | EncoderDecoder:
    build = EncoderDecoder if model.config.is_encoder_decoder else DecoderOnly
    return build(model, prompt, 40, () if model.config.is_encoder_decoder else lengths)


def expected_tokens(model: Any, prompt: Any) -> list[int]:
    model.generation_config.eos_token_id = None
    return model.generate(**prompt, max_new_tokens=NEW, do_sample=False)[0].tolist()[-NEW:]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("lengths", [(), (13, 16)])
def test_the_entry_points_compute_what_the_model_does(name: str, lengths: tuple[int, ...]) -> None:
    """Before any compilation: towers, padded prefill and the static cache lose nothing."""
    model, prompt = EXAMPLES[name]()
    parts = parts_of(model, prompt, lengths)
    session: Any = EagerSession(parts.entries)
    tokens = list(Generation(session, parts.plan).stream(prompt, NEW, Sampling(), ()))
    assert tokens == expected_tokens(model, prompt)
    assert len(set(tokens)) > 5, "a test that any constant would pass"


@pytest.mark.parametrize("name", EXAMPLES)
def test_compiled_tokens_are_the_models(name: str) -> None:
    model, prompt = EXAMPLES[name]()
    lengths = () if model.config.is_encoder_decoder else (16,)
    generator = girih.compile_generator(
        model, prompt, cache_length=40, prefill_lengths=lengths, recipe="float"
    )
    assert generator.generate(prompt, NEW, end=()) == expected_tokens(model, prompt)


@pytest.fixture(scope="module")
def quantized() -> tuple[girih.Generator, Any]:
    model, prompt = EXAMPLES["LLaVA"]()
    model.generation_config.eos_token_id = None
    generator = girih.compile_generator(
        model, prompt, cache_length=40, prefill_lengths=(9, 16), recipe="w8a8"
    )
    return generator, prompt


def test_both_devices_say_the_same(quantized: Any) -> None:
    generator, prompt = quantized
    for how in ({}, {"temperature": 0.8, "top_k": 5, "seed": 3}):
        assert generator.generate(prompt, 8, **how) == generator.generate(
            prompt, 8, device="npu", **how
        )


def test_a_saved_generator_goes_on_where_it_was_made(quantized: Any, tmp_path: Path) -> None:
    generator, prompt = quantized
    path = tmp_path / "llava.girih"
    generator.save(path)
    assert girih.load_generator(path).generate(prompt, 6) == generator.generate(prompt, 6)


def test_a_program_is_not_a_generator(tmp_path: Path) -> None:
    path = tmp_path / "linear.girih"
    girih.compile(torch.nn.Linear(4, 4), (torch.ones(2, 4),), recipe="float").save(path)
    with pytest.raises(girih.ArtifactError, match="holds a program, but no generator"):
        girih.load_generator(path)


def test_a_longer_prompt_takes_the_next_prefill_length(quantized: Any) -> None:
    generator, prompt = quantized
    longer = {**prompt, "input_ids": torch.cat([prompt["input_ids"], torch.ones(1, 4).long()], 1)}
    assert len(generator.generate(longer, 5)) == 5


def test_sampling_repeats_with_its_seed_and_stops_at_the_end(quantized: Any) -> None:
    generator, prompt = quantized
    first = generator.generate(prompt, 8, temperature=2.0, seed=1)
    assert first == generator.generate(prompt, 8, temperature=2.0, seed=1)
    assert first != generator.generate(prompt, 8, temperature=2.0, seed=2)
    assert generator.generate(prompt, 8, temperature=2.0, seed=1, end=first[2:3]) == first[:3]


def plan() -> PromptPlan:
    return PromptPlan(
        tokens="input_ids",
        prefill_lengths=(4, 8),
        cache_length=10,
        tower=("pixel_values",),
        fixed={"image_grid_thw": [[1, 4, 4]]},
    )


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ({}, "lacks input_ids, pixel_values"),
        ({"input_ids": np.ones((1, 3)), "pixel_values": 0, "audio": 0}, "has unknown audio"),
        ({"input_ids": np.ones(3), "pixel_values": 0}, "shape [3], expected [1, n]"),
        ({"input_ids": np.ones((1, 9)), "pixel_values": 0}, "has 9 tokens, expected at most 8"),
        (
            {"input_ids": np.ones((1, 2)), "pixel_values": 0, "attention_mask": np.zeros((1, 2))},
            "the prompt is padded",
        ),
        (
            {"input_ids": np.ones((1, 2)), "pixel_values": 0, "image_grid_thw": [[1, 2, 2]]},
            "image_grid_thw is [[1, 2, 2]], but the program was compiled for [[1, 4, 4]]",
        ),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompt: Any, problem: str) -> None:
    with pytest.raises(girih.InputError) as error:
        plan().check(prompt)
    assert problem in str(error.value)


def test_multimodal_positions_follow_the_grid() -> None:
    """An image of 1 x 2 x 3 tokens: text goes on after the longer side."""
    three = PromptPlan("input_ids", (16,), 16, image_token=9, grids=((1, 2, 3),))
    positions, following = three.positions(np.array([5, 9, 9, 9, 9, 9, 9, 7]))
    expected = [[0, 1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 2, 2, 2, 4], [0, 1, 2, 3, 1, 2, 3, 4]]
    assert positions.tolist() == expected
    assert following == 5


def causal(model_class: Any, config: Any) -> Any:
    """A causal model whose tokens vary."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return model


def test_a_model_that_reads_the_length_of_its_cache_is_refused() -> None:
    """GPT-Neo places its window of local attention by how many keys there are."""
    config = hf.GPTNeoConfig(
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        vocab_size=99,
        max_position_embeddings=64,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
    )
    prompt = {"input_ids": torch.arange(1, 9)[None]}
    with pytest.raises(CompilationError, match="GPTNeoForCausalLM computes something else with a"):
        girih.compile_generator(
            causal(hf.GPTNeoForCausalLM, config), prompt, recipe="float", cache_length=32
        )


def test_a_model_without_keys_and_values_is_refused() -> None:
    config = hf.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=4)
    prompt = {"input_ids": torch.arange(1, 9)[None]}
    with pytest.raises(CompilationError, match="MambaForCausalLM does not keep keys and values"):
        girih.compile_generator(causal(hf.MambaForCausalLM, config), prompt, recipe="float")


def test_a_model_that_a_cache_of_fixed_length_stops_is_refused_with_the_line() -> None:
    """Falcon's ALiBi biases are as many as the tokens so far, and not as the keys."""
    config = hf.FalconConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=99, alibi=True
    )
    prompt = {"input_ids": torch.arange(1, 9)[None]}
    message = r"FalconForCausalLM does not generate with a cache of fixed length at .*falcon\.py:"
    with pytest.raises(CompilationError, match=message):
        girih.compile_generator(causal(hf.FalconForCausalLM, config), prompt, recipe="float")
