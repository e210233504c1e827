"""Decoder-only models: towers, prefill over merged features, one step with the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from transformers.cache_utils import DynamicCache

from girih.compiler.entries import Entry
from girih.compiler.generation.agreement import cache_of, refuse_disagreement
from girih.compiler.generation.features import (
    Tower,
    end_tokens,
    essential,
    features_of,
    observe,
    returning,
)
from girih.compiler.models.static_cache import empty_rows, rows_of, self_cache
from girih.compiler.patches.base import Replacement, replaced
from girih.runtime.errors import CompilationError
from girih.runtime.prompting import PromptPlan

CALIBRATION_TOKENS = 8
"""New tokens per prompt whose steps calibrate the decode entry."""
_GRIDS = ("image_grid_thw",)


class DecoderOnly:
    """Entries of a causal model, with or without a tower."""

    def __init__(
        self,
        model: nn.Module,
        prompt: Mapping[str, Any],
        cache_length: int,
        prefill_lengths: tuple[int, ...],
    ) -> None:
        tokens = prompt.get("input_ids")
        if tokens is None or tokens.ndim != 2 or tokens.shape[0] != 1:
            raise CompilationError("the example prompt needs input_ids of shape (1, n)")
        count = tokens.shape[1]
        lengths = prefill_lengths or (count,)
        if cache_length < lengths[-1] or count > lengths[-1]:
            raise CompilationError(
                f"prefill lengths {list(lengths)} do not fit the example prompt of {count} tokens "
                f"and the cache length {cache_length}"
            )
        self.model = model
        self.prompt = dict(prompt)
        calls, self.output = observe(model, self.prompt)
        self.features = [features_of(owner, method, call, prompt) for owner, method, call in calls]
        tower = [name for each in self.features for name in each.inputs]
        fixed = {
            name: value.tolist()
            for each in self.features
            for name, value in each.call.arguments.items()
            if name in prompt and name not in each.inputs and isinstance(value, Tensor)
        }
        per_token = tuple(
            name
            for name, value in prompt.items()
            if name not in ("input_ids", "attention_mask")
            and isinstance(value, Tensor)
            and value.shape == tokens.shape
        )
        grids = _merged_grids(model, prompt)
        self.plan = PromptPlan(
            tokens="input_ids",
            prefill_lengths=lengths,
            cache_length=cache_length,
            tower=tuple(tower),
            per_token=per_token,
            fixed=fixed,
            image_token=_image_token(model) if grids else -1,
            grids=grids,
            end=end_tokens(model),
        )
        rows = rows_of(cache_of(model, self.output))
        self.layers = len(rows) // 2
        self.entries = self._entries(rows)

    def _entries(self, rows: Sequence[Tensor]) -> dict[str, Entry]:
        plan = self.plan
        entries: dict[str, Entry] = {}
        results: list[Tensor] = []
        if self.features:
            tower = Tower(self.features)
            inputs = tuple(self.prompt[name] for name in plan.tower)
            with torch.no_grad():
                results = list(tower(*inputs))
            writes = {index: f"feature{index}" for index in range(len(results))}
            entries["tower"] = Entry(tower, inputs, writes=writes)
        for length in plan.prefill_lengths:
            module = _Prefill(self, plan.cache_length)
            inputs = (*self._prefill_inputs(self.prompt, length), *results)
            first = len(inputs) - len(results)
            entries[f"prefill_{length}"] = Entry(
                module,
                inputs,
                reads={first + index: f"feature{index}" for index in range(len(results))},
                writes={1 + index: f"cache{index}" for index in range(len(rows))},
            )
        caches = empty_rows(rows, plan.cache_length)
        shape = (3, 1, 1) if plan.three_axes else (1, 1)
        entries["decode"] = Entry(
            _Decode(self.model),
            (
                torch.zeros(1, 1, dtype=torch.int64),
                torch.tensor([1]),
                torch.ones(shape).long(),
                *caches,
            ),
            reads={3 + index: f"cache{index}" for index in range(len(rows))},
            writes={1 + index: f"cache{index}" for index in range(len(rows))},
        )
        return entries

    def _prefill_inputs(self, prompt: Mapping[str, Any], length: int) -> tuple[Tensor, ...]:
        tokens = prompt["input_ids"]
        count = tokens.shape[1]
        pad = (0, length - count)
        positions = torch.from_numpy(self.plan.positions(tokens[0].numpy())[0])
        extra = [nn.functional.pad(prompt[name], pad) for name in self.plan.per_token]
        return (
            nn.functional.pad(tokens, pad),
            torch.tensor([count - 1]),
            nn.functional.pad(positions, pad)[..., None, :],
            *extra,
        )

    def calibration(self, prompts: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
        """Inputs of every entry, from a run of the modules over prompts and a few new tokens.

        The first prompt is the example. Raises `CompilationError` where the modules do not say
        about it what the model says.
        """
        examples: dict[str, list[tuple[Any, ...]]] = {name: [] for name in self.entries}
        plan = self.plan
        with torch.no_grad():
            for prompt in prompts:
                arrays = plan.check(prompt)
                count = arrays["input_ids"].shape[1]
                features: list[Tensor] = []
                if self.features:
                    inputs = tuple(prompt[name] for name in plan.tower)
                    examples["tower"].append(inputs)
                    features = list(self.entries["tower"].module(*inputs))
                length = next(each for each in plan.prefill_lengths if each >= count)
                inputs = (*self._prefill_inputs(prompt, length), *features)
                examples[f"prefill_{length}"].append(inputs)
                logits, *caches = self.entries[f"prefill_{length}"].module(*inputs)
                if prompt is prompts[0]:
                    self._compare("the prompt's last token", logits, self.output)
                _, following = plan.positions(arrays["input_ids"][0])
                shape = (3, 1, 1) if plan.three_axes else (1, 1)
                for step in range(min(CALIBRATION_TOKENS, plan.cache_length - count)):
                    token = logits.reshape(-1).argmax().reshape(1, 1)
                    position = torch.full(shape, following + step)
                    inputs = (token, torch.tensor([count + step]), position, *caches)
                    examples["decode"].append(inputs)
                    logits, *caches = self.entries["decode"].module(*inputs)
                    if prompt is prompts[0] and step == 0:
                        self._compare("the first new token", logits, self._next(token, position))
        for name, entry in self.entries.items():
            examples[name] = examples[name] or [entry.tensors]
        return examples

    def _compare(self, step: str, logits: Tensor, output: Any) -> None:
        refuse_disagreement(self.model, step, logits, output.logits[:, -1])

    def _next(self, token: Tensor, position: Tensor) -> Any:
        """What the model says after the example prompt and a token, with a cache of its own."""
        return self.model(
            input_ids=token,
            position_ids=position,
            past_key_values=self.output.past_key_values,
            use_cache=True,
        )


class _Prefill(nn.Module):
    """tokens (1, n), last (1,), positions, ... -> logits of the last token, the cache's rows."""

    def __init__(self, parts: DecoderOnly, cache_length: int) -> None:
        super().__init__()
        self.model = parts.model
        self.parts = parts
        self.cache_length = cache_length

    def forward(self, tokens: Tensor, last: Tensor, positions: Tensor, *rest: Tensor) -> Any:
        parts, length = self.parts, tokens.shape[1]
        names = parts.plan.per_token
        extra = dict(zip(names, rest[: len(names)], strict=True))
        leaves = list(rest[len(names) :])
        cache: Any = DynamicCache()
        with ExitStack() as stack:
            for each in parts.features:
                form = pytree.tree_structure(essential(each.call.result))
                own, leaves = leaves[: form.num_leaves], leaves[form.num_leaves :]
                result = pytree.tree_unflatten(own, form)
                stack.enter_context(
                    replaced(Replacement(each.owner, each.method, returning(result)))
                )
                extra |= {k: v for k, v in parts.prompt.items() if k in each.call.arguments}
            output = self.model(
                input_ids=tokens,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=last,
                **extra,
            )
        spare = self.cache_length - length
        rows = [nn.functional.pad(row, (0, 0, 0, 0, 0, spare)) for row in rows_of(cache)]
        return output.logits, *rows


class _Decode(nn.Module):
    """token (1, 1), row (1,), position, cache -> logits, cache."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, token: Tensor, row: Tensor, position: Tensor, *rows: Tensor) -> Any:
        cache = self_cache(rows, row)
        output = self.model(
            input_ids=token, position_ids=position, past_key_values=cache, use_cache=True
        )
        return output.logits, *rows_of(cache)


def _merged_grids(model: nn.Module, prompt: Mapping[str, Any]) -> tuple[tuple[int, int, int], ...]:
    """Images' grids in tokens, where positions have three axes."""
    vision: Any = getattr(model.config, "vision_config", None)
    merge = int(getattr(vision, "spatial_merge_size", 1) or 1)
    grids: list[tuple[int, int, int]] = []
    for name in _GRIDS:
        for time, height, width in prompt[name].tolist() if name in prompt else []:
            grids.append((time, height // merge, width // merge))
    return tuple(grids)


def _image_token(model: nn.Module) -> int:
    config: Any = model.config
    return int(config.image_token_id)
