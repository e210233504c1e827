"""Language models alone."""

from __future__ import annotations

from collections.abc import Mapping

import transformers as hf

from tests.models.family import Call, Cell, Family, decode_cell, ids, seeded

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 99,
    "max_position_embeddings": 128,
}
"""The decoder that most multimodal families share, small."""

PROMPT = ids(1, 5, 7, 9, 2, 4)


def causal(model: hf.PreTrainedModel) -> Mapping[str, Cell]:
    """Prefill and decode of a causal language model."""
    return {
        "prefill": Cell(
            Call(model, lambda m, tokens: m(input_ids=tokens, use_cache=False).logits), (PROMPT,)
        ),
        "decode": decode_cell(model, {"input_ids": PROMPT}),
    }


def llama() -> Mapping[str, Cell]:
    return causal(seeded(hf.LlamaForCausalLM, hf.LlamaConfig(**LLAMA)))


def qwen2() -> Mapping[str, Cell]:
    return causal(seeded(hf.Qwen2ForCausalLM, hf.Qwen2Config(**LLAMA)))


def gpt2() -> Mapping[str, Cell]:
    config = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=99, n_positions=64)
    return causal(seeded(hf.GPT2LMHeadModel, config))


def bert() -> Mapping[str, Cell]:
    config = hf.BertConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=99,
        max_position_embeddings=64,
    )
    model = seeded(hf.BertModel, config)
    return {
        "tower": Cell(Call(model, lambda m, tokens: m(tokens).last_hidden_state), (PROMPT,)),
    }


FAMILIES = (
    Family("BERT", bert, cells=("tower",), ci=True, w8a8=True),
    Family("GPT-2", gpt2, cells=("prefill", "decode"), ci=True, w8a8=True),
    Family("Llama", llama, cells=("prefill", "decode"), ci=True, w8a8=True),
    Family("Qwen2", qwen2, cells=("prefill", "decode"), w8a8=True),
)
