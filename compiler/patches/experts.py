"""Mixtures of experts, of fixed shape: every expert sees every token, or each token its weights."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from girih.compiler.patches.base import Patch, Replacement, Site


def _replace(site: Site) -> Sequence[Replacement]:
    module = site.module
    # What transformers gives every class of experts that it dispatches.
    if not hasattr(module, "_is_expert_parallel") or not hasattr(module, "num_experts"):
        return ()
    return (Replacement(module, "forward", MethodType(_forward, module)),)


def _forward(
    self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """hidden_states (N, C); experts and weights of each token (N, K); result (N, C)."""
    if top_k_index.numel() < self.num_experts:
        # Few tokens (decoding): reading their experts' weights beats multiplying by all.
        from transformers.integrations.moe import batched_mm_experts_forward

        return batched_mm_experts_forward(self, hidden_states, top_k_index, top_k_weights)
    chosen = top_k_index[..., None] == torch.arange(self.num_experts)
    shares = (chosen * top_k_weights[..., None]).sum(1)
    results = [
        _expert(self, number, hidden_states) * shares[:, number : number + 1]
        for number in range(self.num_experts)
    ]
    return torch.stack(results).sum(0).to(hidden_states.dtype)


def _expert(experts: nn.Module, number: int, x: Tensor) -> Tensor:
    owner: Any = experts
    x = _linear(owner, "gate_up_proj" if owner.has_gate else "up_proj", number, x)
    x = owner._apply_gate(x) if owner.has_gate else owner.act_fn(x)
    x = _linear(owner, "down_proj", number, x)
    return owner.post_expert_norm(x) if owner.has_post_expert_norm else x


def _linear(owner: Any, name: str, number: int, x: Tensor) -> Tensor:
    weight = getattr(owner, name)[number]
    bias = getattr(owner, f"{name}_bias")[number] if owner.has_bias else None
    return F.linear(x, weight.t() if owner.is_transposed else weight, bias)


EXPERTS = Patch(
    name="dense-experts",
    reason="tokens are sorted by expert, so that each expert's share has a shape that depends on "
    "data",
    classes=frozenset({"Module"}),
    replace=_replace,
)
