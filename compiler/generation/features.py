"""Feature methods of multimodal models: what a tower computes, and how a prefill takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from girih.compiler.patches.base import Call, Replacement, listener, replaced

_METHODS = ("get_image_features", "get_audio_features", "get_video_features")


@dataclass(frozen=True)
class Features:
    """A feature method of a model as it was called: what the tower computes."""

    owner: nn.Module
    method: str
    call: Call
    inputs: tuple[str, ...]
    """The call's arguments that come from the prompt and vary."""


class Tower(nn.Module):
    """The model's feature methods, called as the model calls them."""

    def __init__(self, features: Sequence[Features]) -> None:
        super().__init__()
        self.owners = nn.ModuleList(each.owner for each in features)
        self.features = list(features)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        rest = list(inputs)
        leaves: list[Tensor] = []
        for owner, each in zip(self.owners, self.features, strict=True):
            given = {name: rest.pop(0) for name in each.inputs}
            result = getattr(owner, each.method)(**{**each.call.arguments, **given})
            leaves += pytree.tree_leaves(essential(result))
        return tuple(leaves)


def observe(
    model: nn.Module, prompt: Mapping[str, Any]
) -> tuple[list[tuple[nn.Module, str, Call]], Any]:
    """Run the model on the prompt; return the calls of its feature methods, and its output."""
    heard: list[tuple[nn.Module, str, list[Call]]] = []
    with ExitStack() as stack, torch.no_grad():
        for each in model.modules():
            for method in _METHODS:
                if hasattr(each, method):
                    calls: list[Call] = []
                    spy = listener(getattr(each, method), calls)
                    stack.enter_context(replaced(Replacement(each, method, spy)))
                    heard.append((each, method, calls))
        output: Any = model(**prompt, use_cache=True)
    return [(owner, method, call) for owner, method, calls in heard for call in calls], output


def features_of(owner: nn.Module, method: str, call: Call, prompt: Mapping[str, Any]) -> Features:
    """A recorded call; integers in the prompt, such as grids, are part of the program."""
    inputs = tuple(
        name
        for name, value in call.arguments.items()
        if name in prompt
        and isinstance(value, Tensor)
        and value.dtype not in (torch.int32, torch.int64)
    )
    return Features(owner, method, call, inputs)


def essential(result: Any) -> Any:
    """A feature method's result without what only describes how it came about."""
    if getattr(result, "pooler_output", None) is None:
        return result
    return type(result)(
        **{
            name: value
            for name, value in result.items()
            if name not in ("last_hidden_state", "hidden_states", "attentions")
        }
    )


def returning(result: Any) -> Callable[..., Any]:
    """A method that ignores its arguments."""
    return lambda *args, **kwargs: result


def end_tokens(model: nn.Module) -> tuple[int, ...]:
    """Tokens that end a text, from the model's generation settings."""
    generation: Any = getattr(model, "generation_config", None)
    end = getattr(generation, "eos_token_id", None)
    if end is None:
        return ()
    return tuple(end) if isinstance(end, list) else (end,)
