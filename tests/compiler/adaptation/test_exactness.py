"""Forward values of training are the integers of the program, whatever its graph holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor

from girih.compiler.adaptation.adapting import adapt
from girih.compiler.adaptation.student import Results, Student
from girih.compiler.episodes import Call, Episode
from girih.compiler.models.speech import whisper_entries
from girih.compiler.recipe import Pruning, Recipe
from girih.passes.quantization.rules import NodeRule


def small_whisper() -> hf.WhisperForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in {"layers": 1, "attention_heads": 2, "ffn_dim": 64}.items()
    }
    config = hf.WhisperConfig(
        d_model=32,
        vocab_size=40,
        num_mel_bins=8,
        max_source_positions=16,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        init_std=0.3,
        **sizes,
    )
    return hf.WhisperForConditionalGeneration(config).eval()


def episode(tokens: int = 3) -> Episode:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 8, 32, generator=generator)
    said = torch.randint(3, 40, (tokens,), generator=generator)
    steps = [
        Call("decode", (token.reshape(1, 1), torch.tensor([position])))
        for position, token in enumerate(said)
    ]
    return (Call("encode", (features,)), *steps)


# Both widths of weights, a layer that stays float between integers, and pruned channels.
RECIPE = Recipe(
    name="mixed",
    rules=(
        NodeRule(match="encoder.layers.0.self_attn", weights=4),
        NodeRule(match="decoder.layers.0.fc2", weights="float"),
    ),
    pruning=(Pruning(hidden=0.5),),
)


def test_forward_values_are_the_programs_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Results, dict[str, Tensor]]] = []
    run = Student.run

    def watched(self: Student, calls: Episode, parameters: Mapping[str, Tensor]) -> Any:
        seen.append(run(self, calls, parameters))
        return seen[-1]

    monkeypatch.setattr(Student, "run", watched)
    calls = episode()
    # So low a rate leaves every weight as it is: the program is the one that training saw.
    program = adapt(
        whisper_entries(small_whisper()),
        episodes=[calls],
        folder=tmp_path / "state",
        steps=1,
        batch=1,
        rate=1e-30,
        recipe=RECIPE,
    )
    ((results, states),) = seen
    cross = program["encode"](*calls[0].inputs)
    for number, expected in enumerate(cross):
        assert np.array_equal(states[f"cross.{number}"].detach().numpy(), expected)
    session = program.session()
    for call, outputs in zip(calls, results, strict=True):
        expected = session[call.entry](*call.inputs)
        assert len(outputs) == len(expected)
        for ours, theirs in zip(outputs, expected, strict=True):
            assert np.array_equal(ours.detach().numpy(), theirs)
            assert len(np.unique(theirs)) > 10
