"""Encoder-decoder models: the encoder as tower, a prefill that also fills the cross cache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from girih.compiler.entries import Entry
from girih.compiler.generation.agreement import cache_of, refuse_disagreement
from girih.compiler.generation.decoder_only import CALIBRATION_TOKENS
from girih.compiler.generation.features import end_tokens
from girih.compiler.models.static_cache import cross_cache, empty_rows, rows_of, self_cache
from girih.runtime.prompting import PromptPlan


class EncoderDecoder:
    """Entries of a model whose decoder attends to an encoder's output."""

    def __init__(
        self,
        model: nn.Module,
        prompt: Mapping[str, Any],
        cache_length: int,
        prefill_lengths: tuple[int, ...],
    ) -> None:
        self.model = model
        encoder = {
            name: value
            for name, value in prompt.items()
            if isinstance(value, Tensor) and not name.startswith("decoder_")
        }
        config: Any = model.config
        start = prompt.get("decoder_input_ids")
        if start is None:
            start = torch.tensor([[config.decoder_start_token_id]])
        with torch.no_grad():
            arguments: dict[str, Any] = {**encoder, "decoder_input_ids": start}
            output: Any = model(**arguments, use_cache=True)
            self.output = output
            # Some models have a class of their own for what the encoder returns.
            self.encoded = type(model.get_encoder()(**encoder))  # type: ignore[operator]
        cache = cache_of(model, output)
        self.start: Tensor = start
        self.own = rows_of(cache.self_attention_cache)
        self.cross = rows_of(cache.cross_attention_cache)
        self.plan = PromptPlan(
            tokens="decoder_input_ids",
            prefill_lengths=prefill_lengths or (start.shape[1],),
            cache_length=cache_length,
            tower=tuple(encoder),
            default_tokens=tuple(start[0].tolist()),
            end=end_tokens(model),
        )
        self.entries = self._entries(encoder, output.encoder_last_hidden_state)

    def _entries(self, encoder: Mapping[str, Tensor], hidden: Tensor) -> dict[str, Entry]:
        plan, width = self.plan, len(self.own)
        caches = empty_rows(self.own, plan.cache_length)
        entries = {
            "tower": Entry(
                _Encode(self.model, tuple(encoder)), tuple(encoder.values()), writes={0: "encoded"}
            )
        }
        for length in plan.prefill_lengths:
            entries[f"prefill_{length}"] = Entry(
                _CrossPrefill(self.model, plan.cache_length, self.encoded),
                (*self._prefill_inputs(self.start, length), hidden),
                reads={3: "encoded"},
                writes={
                    **{1 + index: f"cache{index}" for index in range(width)},
                    **{1 + width + index: f"cross{index}" for index in range(len(self.cross))},
                },
            )
        entries["decode"] = Entry(
            _CrossDecode(self.model, width, self.encoded, hidden.shape[-1]),
            (self.start[:, :1], torch.tensor([1]), torch.tensor([[1]]), *caches, *self.cross),
            reads={
                **{3 + index: f"cache{index}" for index in range(width)},
                **{3 + width + index: f"cross{index}" for index in range(len(self.cross))},
            },
            writes={1 + index: f"cache{index}" for index in range(width)},
        )
        return entries

    def _prefill_inputs(self, tokens: Tensor, length: int) -> tuple[Tensor, ...]:
        count = tokens.shape[1]
        pad = (0, length - count)
        return (
            nn.functional.pad(tokens, pad),
            torch.tensor([count - 1]),
            nn.functional.pad(torch.arange(count), pad)[None],
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
                inputs = tuple(prompt[name] for name in plan.tower)
                examples["tower"].append(inputs)
                hidden = self.entries["tower"].module(*inputs)
                tokens = prompt.get("decoder_input_ids", self.start)
                count = tokens.shape[1]
                length = next(each for each in plan.prefill_lengths if each >= count)
                inputs = (*self._prefill_inputs(tokens, length), hidden)
                examples[f"prefill_{length}"].append(inputs)
                logits, *rows = self.entries[f"prefill_{length}"].module(*inputs)
                if prompt is prompts[0]:
                    self._compare("the prompt's last token", logits, self.output)
                for step in range(min(CALIBRATION_TOKENS, plan.cache_length - count)):
                    token = logits.reshape(-1).argmax().reshape(1, 1)
                    row = torch.tensor([count + step])
                    inputs = (token, row, row[None], *rows)
                    examples["decode"].append(inputs)
                    logits, *own = self.entries["decode"].module(*inputs)
                    if prompt is prompts[0] and step == 0:
                        self._compare("the first new token", logits, self._next(token))
                    rows[: len(own)] = own
        return examples

    def _compare(self, step: str, logits: Tensor, output: Any) -> None:
        refuse_disagreement(self.model, step, logits, output.logits[:, -1])

    def _next(self, token: Tensor) -> Any:
        """What the model says after the example prompt and a token, with a cache of its own."""
        encoded = self.encoded(last_hidden_state=self.output.encoder_last_hidden_state)
        return self.model(
            decoder_input_ids=token,
            encoder_outputs=encoded,
            past_key_values=self.output.past_key_values,
            use_cache=True,
        )


class _Encode(nn.Module):
    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder = model.get_encoder()  # type: ignore[operator]
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.encoder(**dict(zip(self.names, inputs, strict=True))).last_hidden_state


class _CrossPrefill(nn.Module):
    """tokens (1, n), last (1,), positions (1, n), encoded -> logits, own rows, cross rows."""

    def __init__(self, model: nn.Module, cache_length: int, encoded: type[Any]) -> None:
        super().__init__()
        self.encoded = encoded
        self.model = model
        self.cache_length = cache_length

    def forward(self, tokens: Tensor, last: Tensor, positions: Tensor, encoded: Tensor) -> Any:

        cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
        output = self.model(
            decoder_input_ids=tokens,
            encoder_outputs=self.encoded(last_hidden_state=encoded),
            past_key_values=cache,
            use_cache=True,
        )
        spare = self.cache_length - tokens.shape[1]
        own = rows_of(cache.self_attention_cache)
        rows = [nn.functional.pad(row, (0, 0, 0, 0, 0, spare)) for row in own]
        logits = output.logits.index_select(1, last)
        return logits, *rows, *rows_of(cache.cross_attention_cache)


class _CrossDecode(nn.Module):
    """token (1, 1), row (1,), position (1, 1), own cache, cross cache -> logits, own cache."""

    def __init__(self, model: nn.Module, width: int, encoded: type[Any], encoded_size: int) -> None:
        super().__init__()
        self.encoded = encoded
        self.encoded_size = encoded_size
        self.model = model
        self.width = width

    def positions(self, position: Tensor) -> dict[str, Tensor]:
        """The position by the name that the model has for it, if any."""
        known = inspect.signature(self.model.forward).parameters
        return {"decoder_position_ids": position} if "decoder_position_ids" in known else {}

    def forward(self, token: Tensor, row: Tensor, position: Tensor, *rows: Tensor) -> Any:
        own = self_cache(rows[: self.width], row)
        cache = cross_cache(own, rows[self.width :])
        # The decoder reads the encoder's output through the cache; only its length is looked at.
        keys = rows[self.width]
        encoded = keys.new_zeros(1, keys.shape[1], self.encoded_size)
        output = self.model(
            decoder_input_ids=token,
            encoder_outputs=self.encoded(last_hidden_state=encoded),
            past_key_values=cache,
            use_cache=True,
            **self.positions(position),
        )
        return output.logits, *rows_of(own)
