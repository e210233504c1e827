"""Prompt in, tokens out, over any device: towers, prefill in buckets, cached decoding, sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.runtime.errors import InputError
from girih.runtime.execution import Session

Array = NDArray[Any]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest, or by chance.

    temperature 0 is greedy; top_k 0 considers the whole vocabulary. The same seed gives the same
    tokens on every device that gives the same logits.
    """

    temperature: float = 0.0
    top_k: int = 0
    seed: int = 0

    def chooser(self) -> Callable[[Array], int]:
        """A function from logits (vocabulary) to the next token."""
        if self.temperature < 0 or self.top_k < 0:
            raise InputError("temperature and top_k must not be negative")
        generator = np.random.default_rng(self.seed)

        def choose(logits: Array) -> int:
            if self.temperature == 0:
                return int(logits.argmax())
            scores = logits.astype(np.float64) / self.temperature
            if 0 < self.top_k < len(scores):
                least = np.partition(scores, -self.top_k)[-self.top_k]
                scores[scores < least] = -np.inf
            weights = np.exp(scores - scores.max())
            return int(generator.choice(len(weights), p=weights / weights.sum()))

        return choose


@dataclass(frozen=True)
class PromptPlan:
    """How a prompt becomes calls of the entry points ``tower``, ``prefill_N`` and ``decode``.

    Args:
        tokens: name of the prompt's token numbers, (1, n).
        prefill_lengths: the lengths N that were compiled, ascending; shorter prompts are padded.
        cache_length: most tokens, prompt included.
        tower: names of the prompt's inputs to the tower, in order; none without a tower.
        per_token: names of further prefill inputs of shape (1, n), padded with zeros.
        fixed: inputs whose values are part of the program, as nested lists.
        image_token: the token whose positions follow `grids`, or -1 where positions count up.
        grids: (time, height, width) of each image in tokens.
        default_tokens: the prompt where none is given: a decoder's start token.
        end: tokens that end a text.
    """

    tokens: str
    prefill_lengths: tuple[int, ...]
    cache_length: int
    tower: tuple[str, ...] = ()
    per_token: tuple[str, ...] = ()
    fixed: Mapping[str, Any] | None = None
    image_token: int = -1
    grids: tuple[tuple[int, int, int], ...] = ()
    default_tokens: tuple[int, ...] = ()
    end: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    @property
    def three_axes(self) -> bool:
        """Whether positions have a time, a height and a width."""
        return self.image_token >= 0

    def check(self, prompt: Mapping[str, Any]) -> dict[str, Array]:
        """The prompt as arrays; raise `InputError` for what the program cannot take."""
        arrays = {name: _array(value) for name, value in prompt.items()}
        if self.default_tokens and self.tokens not in arrays:
            arrays[self.tokens] = np.array([self.default_tokens], np.int64)
        known = {self.tokens, "attention_mask", *self.tower, *self.per_token, *(self.fixed or {})}
        unknown, missing = set(arrays) - known, {self.tokens, *self.tower} - set(arrays)
        if unknown or missing:
            problem = f"lacks {_list(missing)}" if missing else f"has unknown {_list(unknown)}"
            raise InputError(f"the prompt {problem}: expected {_list(known)}")
        tokens = arrays[self.tokens]
        if tokens.ndim != 2 or tokens.shape[0] != 1 or tokens.shape[1] == 0:
            raise InputError(f"{self.tokens} has shape {list(tokens.shape)}, expected [1, n]")
        if tokens.shape[1] > self.prefill_lengths[-1]:
            raise InputError(
                f"the prompt has {tokens.shape[1]} tokens, expected at most "
                f"{self.prefill_lengths[-1]}: compile with a longer prefill length"
            )
        if not arrays.pop("attention_mask", np.ones(1)).all():
            raise InputError("the prompt is padded: give one prompt, without padding")
        for name, value in (self.fixed or {}).items():
            if name in arrays and not np.array_equal(arrays[name], np.asarray(value)):
                raise InputError(
                    f"{name} is {arrays[name].tolist()}, but the program was compiled for {value}"
                )
        return arrays

    def positions(self, tokens: Array) -> tuple[Array, int]:
        """Positions (n,) or (3, n) of a prompt's tokens (n,), and the next text position.

        Multimodal rotary positions, Wang et al., "Qwen2-VL" (2024), section 2.1: text counts up on
        all three axes; an image's tokens count along its grid from where the text stopped.
        """
        if not self.three_axes:
            return np.arange(len(tokens)), len(tokens)
        parts: list[Array] = []
        following, index, grids = 0, 0, list(self.grids)
        while index < len(tokens):
            if tokens[index] != self.image_token or not grids:
                parts.append(np.full((3, 1), following))
                following, index = following + 1, index + 1
                continue
            time, height, width = grids.pop(0)
            axes = np.indices((time, height, width)).reshape(3, -1)
            parts.append(axes + following)
            following, index = following + max(height, width), index + axes.shape[1]
        return np.concatenate(parts, axis=1)[:, : len(tokens)], following


class Generation:
    """Generates text with the compiled entry points of one session."""

    def __init__(self, session: Session, plan: PromptPlan) -> None:
        self.session = session
        self.plan = plan

    def stream(
        self, prompt: Mapping[str, Any], most: int, sampling: Sampling, end: Sequence[int]
    ) -> Iterator[int]:
        """Yield tokens as they come, until one of `end` (which is yielded too) or `most`."""
        plan, choose = self.plan, sampling.chooser()
        arrays = plan.check(prompt)
        tokens = arrays[plan.tokens][0].astype(np.int64)
        if len(tokens) + most - 1 > plan.cache_length:
            raise InputError(
                f"{len(tokens)} tokens of prompt and {most} new ones exceed the cache length "
                f"{plan.cache_length}"
            )
        if plan.tower:
            self.session["tower"](*(arrays[name] for name in plan.tower))
        logits, following = self._prefill(tokens, arrays)
        for count in range(most):
            token = choose(logits)
            yield token
            if token in end or count + 1 == most:
                return
            logits = self._decode(token, len(tokens) + count, following + count)

    def _prefill(self, tokens: Array, arrays: Mapping[str, Array]) -> tuple[Array, int]:
        plan, count = self.plan, len(tokens)
        length = next(each for each in plan.prefill_lengths if each >= count)
        positions, following = plan.positions(tokens)
        pad = [(0, 0)] * (positions.ndim - 1) + [(0, length - count)]
        padded = [np.pad(tokens, (0, length - count))[None], np.array([count - 1])]
        padded.append(np.pad(positions, pad)[..., None, :].astype(np.int64))
        for name in plan.per_token:
            extra = arrays.get(name, np.zeros((1, count), np.int64))
            padded.append(np.pad(extra, ((0, 0), (0, length - count))))
        (logits,) = self.session[f"prefill_{length}"](*padded)
        return logits.reshape(-1), following

    def _decode(self, token: int, row: int, position: int) -> Array:
        shape = (3, 1, 1) if self.plan.three_axes else (1, 1)
        (logits,) = self.session["decode"](
            np.array([[token]]), np.array([row]), np.full(shape, position, np.int64)
        )
        return logits.reshape(-1)


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))
