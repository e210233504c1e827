"""A Whisper small enough to train in a test, and what it is trained on."""

from __future__ import annotations

import torch
import transformers as hf

from girih.compiler.compilation import Entry
from girih.compiler.differentiable.graph import Call, Episode
from girih.compiler.models.speech import whisper_entries


def small_whisper(seed: int = 0) -> hf.WhisperForConditionalGeneration:
    torch.manual_seed(seed)
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


def entries(seed: int = 0) -> dict[str, Entry]:
    return whisper_entries(small_whisper(seed))


def episodes(count: int, calls: int = 3) -> list[Episode]:
    generator = torch.Generator().manual_seed(1)
    found: list[Episode] = []
    for _ in range(count):
        features = torch.randn(1, 8, 32, generator=generator)
        tokens = torch.randint(3, 40, (calls,), generator=generator)
        steps = [
            Call("decode", (token.reshape(1, 1), torch.tensor([position])))
            for position, token in enumerate(tokens)
        ]
        found.append((Call("encode", (features,)), *steps))
    return found
