"""Mixtures of experts export with fixed shapes, and compute what the model does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf

from girih.compiler.exporting import export
from girih.compiler.patches import known_patches

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 50,
}
MODELS = {
    "Mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**SIZES, num_local_experts=4)),
    "Qwen3Moe": lambda: hf.Qwen3MoeForCausalLM(
        hf.Qwen3MoeConfig(**SIZES, num_experts=4, moe_intermediate_size=8, num_experts_per_tok=2)
    ),
    "GptOss": lambda: hf.GptOssForCausalLM(
        hf.GptOssConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, head_dim=8)
    ),
}


@pytest.mark.parametrize("tokens", [1, 6])
@pytest.mark.parametrize("name", MODELS)
def test_experts_are_the_models(name: str, tokens: int) -> None:
    """One token reads its own experts' weights; several tokens meet all experts."""
    torch.manual_seed(0)
    model: Any = MODELS[name]().eval()
    ids = torch.arange(3, 3 + tokens)[None]
    exported = export(model, {"input_ids": ids, "use_cache": False}, known_patches())
    assert "dense-experts" in exported.patches
    assert exported.notes == (), "export compares with the model"
