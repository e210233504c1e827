"""What the drivers of quantizers share; executed by the Python of a peer's own environment.

A driver gets a case as JSON on standard input (`model` is a folder that transformers has saved,
`clips` are files of features and float32's tokens):

    {"recipe", "model", "rules": {"start", "end", "vocabulary", "not_first", "longest"}, "clips"}

and answers with a line of JSON when the model is quantized, then with one per clip:

    {"bytes": of all parameters as the tool stores them, "note"}
    {"tokens": what the model says by itself, "logits": file with those after float32's tokens}

A tool that can not do a recipe raises: the last line on standard error is the reason. Each row of
logits is the last one of a pass over all tokens before it: what a tool measures of a whole
tensor, such as the range of activations, does not see tokens that are yet to come.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Row = Callable[[Sequence[int]], Any]


@dataclass(frozen=True)
class Quantized:
    """A model as a tool keeps it. `hear` takes features and gives the logits of a prefix."""

    bytes: int
    hear: Callable[[Any], Row]
    note: str = ""


def choose(logits: Any, rules: dict[str, Any], first: bool) -> int:
    """The same as `girih.runtime.generation.Rules.choose`."""
    scores = logits[: max(rules["vocabulary"], rules["end"] + 1)].astype(np.float64)
    banned = np.arange(len(scores)) >= rules["vocabulary"]
    banned[rules["end"]] = False
    if first:
        banned[list(rules["not_first"])] = True
    scores[banned] = -np.inf
    return int(scores.argmax())


def listen(row: Row, rules: dict[str, Any], teacher: Sequence[int]) -> tuple[Any, list[int]]:
    """Logits after each of the teacher's tokens, and the model's own; no prefix is run twice."""
    known: dict[tuple[int, ...], Any] = {}

    def after(tokens: Sequence[int]) -> Any:
        prefix = (*rules["start"], *tokens)
        if prefix not in known:
            known[prefix] = row(prefix)
        return known[prefix]

    forced = np.stack([after(teacher[:count]) for count in range(len(teacher) + 1)])
    said: list[int] = []
    while len(rules["start"]) + len(said) <= rules["longest"]:
        token = choose(after(said), rules, first=not said)
        if token == rules["end"]:
            break
        said.append(token)
    return forced, said


def original(folder: Path) -> Any:
    """Hugging Face's model in float32."""
    import torch
    from transformers import WhisperForConditionalGeneration

    return WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def halves(model: Any) -> tuple[Any, Any]:
    """The model as two modules: features -> hidden, and (tokens, hidden) -> the last logits."""
    import torch

    class Encode(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.model.encoder

        def forward(self, features: Any) -> Any:
            return self.encoder(features).last_hidden_state

    class Decode(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder, self.head = model.model.decoder, model.proj_out

        def forward(self, tokens: Any, hidden: Any, cache: Any = None) -> Any:
            states = self.decoder(
                input_ids=tokens,
                encoder_hidden_states=hidden,
                past_key_values=cache,
                use_cache=cache is not None,
            )
            return self.head(states.last_hidden_state[:, -1])

    return Encode().eval(), Decode().eval()


def stored_bytes(model: Any) -> int:
    """Bytes of a PyTorch model's parameters and buffers, those in use twice once."""
    import itertools

    sizes: dict[tuple[int, int], int] = {}

    def count(tensor: Any) -> None:
        if hasattr(tensor, "__tensor_flatten__"):  # a quantized tensor is made of plain ones
            for name in tensor.__tensor_flatten__()[0]:
                count(getattr(tensor, name))
        else:
            sizes[tensor.data_ptr(), tensor.nbytes] = tensor.nbytes

    for tensor in itertools.chain(model.parameters(), model.buffers()):
        count(tensor)
    return sum(sizes.values())


def in_torch(model: Any, note: str = "") -> Quantized:
    """A PyTorch model whose linear layers a tool has replaced; it keeps keys and values."""
    import torch
    from transformers import DynamicCache, EncoderDecoderCache

    encode, decode = halves(model)

    def hear(features: Any) -> Row:
        with torch.no_grad():
            hidden = encode(torch.from_numpy(features))
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        known: list[int] = []

        def row(tokens: Sequence[int]) -> Any:
            same = 0
            while same < min(len(known), len(tokens) - 1) and known[same] == tokens[same]:
                same += 1
            if same < len(known):
                cache.crop(same - len(known))
            known[same:] = tokens[same:]
            with torch.no_grad():
                return decode(torch.tensor([known[same:]]), hidden, cache)[0].numpy()

        return row

    return Quantized(stored_bytes(model), hear, note)


def serve(quantize: Callable[[str, Path], Quantized]) -> None:
    """Answer one case; `quantize` makes a recipe's model of a folder's."""
    case = json.load(sys.stdin)
    # Tools write to the standard output that they found, some of them from C++.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    quantized = quantize(case["recipe"], Path(case["model"]))
    answer(bytes=quantized.bytes, note=quantized.note)
    for clip in map(Path, case["clips"]):
        with np.load(clip) as given:
            features, teacher = given["features"], given["tokens"].tolist()
        logits, said = listen(quantized.hear(features), case["rules"], teacher)
        file = clip.with_suffix(".logits.npy")
        np.save(file, logits)
        answer(tokens=said, logits=str(file))
