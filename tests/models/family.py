"""What a family of models is here: small random-weight models and the programs made of them.

Cells are what a user would compile: the tower that turns pixels or audio into features, a prefill
over a prompt, one decode step with a cache of fixed length. The model's own code is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from girih.compiler.models.static_cache import cross_cache, empty_rows, rows_of, self_cache

CACHE_LENGTH = 24


@dataclass(frozen=True)
class Cell:
    """A module and its example inputs."""

    module: nn.Module
    inputs: Sequence[Tensor] | Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """A name, and what builds its cells.

    `ci` families are tested on every run. In `w8a8` families every linear, attention and
    convolution is on the accelerator, with the same integers in the reference, IREE and simulator.
    """

    name: str
    build: Callable[[], Mapping[str, Cell]]
    cells: tuple[str, ...] = ("tower", "prefill", "decode")
    ci: bool = False
    w8a8: bool = False


class Call(nn.Module):
    """A model under a function of it and of the inputs: what a user's wrapper module would be."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.model, *inputs)


class Decode(nn.Module):
    """One step: token (1, 1), position (1,), keys and values -> logits, the new rows."""

    def __init__(self, model: nn.Module, layers: int, **fixed: Any) -> None:
        super().__init__()
        self.model = model
        self.layers = layers
        self.fixed = fixed

    def forward(self, token: Tensor, position: Tensor, *rows: Tensor) -> Any:
        own = self_cache(rows[: 2 * self.layers], position)
        cross = rows[2 * self.layers :]
        cache = cross_cache(own, cross) if cross else own
        name = "decoder_input_ids" if cross else "input_ids"
        ids = {name: token}
        if not cross:
            ids["position_ids"] = position[None]
        output = self.model(**ids, past_key_values=cache, use_cache=True, **self.fixed)
        return output.logits, *rows_of(own)


def decode_cell(model: nn.Module, prompt: Mapping[str, Any], **fixed: Any) -> Cell:
    """The decode cell of a causal model: its caches' shapes come from a run over a prompt.

    The run's cache keeps all rows of windowed layers too, as the cell's caches do.
    """
    with torch.no_grad():
        own = {} if "decoder_input_ids" in prompt else {"past_key_values": DynamicCache()}
        cache = model(**prompt, **own, use_cache=True).past_key_values
    filled = rows_of(cache)
    length = filled[0].shape[1]
    rows = empty_rows(filled, max(CACHE_LENGTH, length + 4))
    for empty, old in zip(rows, filled, strict=True):
        empty[:, :length] = old
    inputs = (torch.tensor([[3]]), torch.tensor([length]), *rows)
    return Cell(Decode(model, len(rows) // 2, **fixed), inputs)


def seeded(model_class: type[Any], config: Any) -> Any:
    """A model with random weights of a fixed seed, ready for inference."""
    torch.manual_seed(0)
    return model_class(config).eval()


def ids(*tokens: int) -> Tensor:
    """A prompt (1, n)."""
    return torch.tensor([tokens])


def noise(*sizes: int, seed: int = 1) -> Tensor:
    """Standard normal values of a fixed seed."""
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))
