"""The state of an adaptation in its folder, so that one that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from girih.compiler.adaptation.settings import Settings
from girih.compiler.files import replacing
from girih.compiler.recipe import Recipe
from girih.runtime.errors import InputError

STATE = "state.pt"
LOSSES = "losses.json"


@dataclass
class Progress:
    """How far an adaptation came: the losses of its steps, and what training changes."""

    losses: list[float] = field(default_factory=list[float])
    adapters: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    optimizer: dict[str, Any] = field(default_factory=dict[str, Any])


class Checkpoint:
    """The folder of one adaptation; `run` tells it from all that would train otherwise."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self.run = run

    def read(self) -> Progress:
        """What was written last, or a beginning.

        Raises `InputError` for the state of another adaptation, and for a damaged one.
        """
        path = self.folder / STATE
        if not path.exists():
            return Progress()
        content = path.read_bytes()
        try:
            kept = torch.load(BytesIO(content), weights_only=True)
            progress = Progress(kept["losses"], kept["adapters"], kept["optimizer"])
            run = kept["run"]
        except Exception as error:  # what a damaged file raises depends on where the damage is
            raise InputError(f"{path}: not the state of an adaptation; remove it") from error
        if run != self.run:
            raise InputError(
                f"{self.folder} holds an adaptation of another model, or with other examples, "
                "recipe or settings: give another folder"
            )
        return progress

    def write(self, progress: Progress) -> None:
        """Take the place of what was written before, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / STATE) as file:
            torch.save(vars(progress) | {"run": self.run}, file)

    def log(self, losses: list[float]) -> None:
        """The loss of each step, as JSON, for people and plots."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / LOSSES) as file:
            steps = [{"step": number, "loss": loss} for number, loss in enumerate(losses, 1)]
            file.write(json.dumps(steps, indent=1).encode())


def digest(
    settings: Settings,
    recipe: Recipe,
    parameters: Mapping[str, NDArray[Any]],
    examples: Iterable[tuple[str, Sequence[NDArray[Any]]]],
) -> str:
    """Tells adaptations apart: the same digest leads to the same weights."""
    known = hashlib.sha256(f"{settings.model_dump_json()}{recipe.model_dump_json()}".encode())

    def add(name: str, array: NDArray[Any]) -> None:
        known.update(f"{name} {array.dtype} {array.shape}".encode())
        known.update(np.ascontiguousarray(array).view(np.uint8).data)

    for name in sorted(parameters):
        add(name, parameters[name])
    for name, arrays in examples:
        known.update(name.encode())
        for array in arrays:
            add(name, array)
    return known.hexdigest()
