"""How an adaptation trains."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from girih.runtime.errors import InputError

_WARM_UP = 0.1
"""Share of the steps in which the rate rises."""


class Settings(BaseModel):
    """How an adaptation trains.

    steps: how often the weights change, each time by the gradients of `batch` episodes.
    float_steps: how often before that, the pruned graph in float, where a step takes half as long;
    ranges are observed anew after them. rate: the highest of AdamW (Loshchilov and Hutter 2019),
    which rises over the first tenth of all steps and then falls as a cosine. rank: of the change of
    each weight (LoRA, Hu et al. 2022). match: paths of modules, with ``*`` and ``?``, whose linear
    operations change. tied: a table of tokens that is a linear operation's weight too changes as
    well. loss: of results, the ``divergence`` of their softmax from the original's, for logits, or
    the ``error`` relative to it. states: weight of the relative error of the states that an episode
    leaves. seed: of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=100, ge=0)
    float_steps: int = Field(default=0, ge=0)
    batch: int = Field(default=4, ge=1)
    rate: float = Field(default=1e-4, gt=0, le=1)
    rank: int = Field(default=16, ge=1)
    match: tuple[str, ...] = Field(default=("*",), min_length=1)
    tied: bool = False
    loss: Literal["divergence", "error"] = "divergence"
    states: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0)

    @staticmethod
    def of(values: dict[str, Any]) -> Settings:
        """Settings by name; raises `InputError` for one that can not be."""
        try:
            return Settings.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise InputError(
                f"{name}={first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}"
            ) from error

    def rate_at(self, step: int) -> float:
        """The rate of a step, counted from 0, those in float among them."""
        steps = self.float_steps + self.steps
        rising = max(1, round(_WARM_UP * steps))
        if step < rising:
            return self.rate * (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        return self.rate * 0.5 * (1 + math.cos(math.pi * done))
