"""Weights that change by products of low rank, from peft."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from girih.compiler.adaptation.settings import Settings
from girih.passes.differentiable.function import Weights
from girih.runtime.errors import CompilationError

_ADAPTER = "default"


class Adapters:
    """Changes of weights and of the biases beside them (LoRA, Hu et al. 2022).

    names: the weights to train, each with the bias that is trained beside it. They start as no
    change. Dots in names, which modules may not have, are slashes in peft's.
    """

    def __init__(
        self,
        names: Mapping[str, str | None],
        arrays: Mapping[str, NDArray[Any]],
        settings: Settings,
    ) -> None:
        self._names = {name.replace(".", "/"): (name, bias) for name, bias in names.items()}
        used = [name for pair in self._names.values() for name in pair if name is not None]
        tensors = Weights({name: arrays[name] for name in used})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            modules = {
                key: _linear(tensors[name], None if bias is None else tensors[bias])
                for key, (name, bias) in self._names.items()
            }
            peft = _peft()
            configuration = peft.LoraConfig(
                r=settings.rank,
                lora_alpha=2 * settings.rank,
                target_modules=list(modules),
                bias="lora_only",
            )
            self._model: Any = peft.get_peft_model(nn.ModuleDict(modules), configuration)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [each for each in self._model.parameters() if each.requires_grad]

    def weights(self) -> dict[str, Tensor]:
        """Every weight and bias as it is now, a function of what is trained."""
        found: dict[str, Tensor] = {}
        for key, (name, bias) in self._names.items():
            layer = self._model.base_model.model[key]
            base = layer.get_base_layer()
            found[name] = base.weight + layer.get_delta_weight(_ADAPTER)
            if bias is not None:
                found[bias] = base.bias
        return found

    def merged(self) -> dict[str, NDArray[Any]]:
        """The weights and biases as arrays. The adapters are gone after it."""
        modules = self._model.merge_and_unload()
        found: dict[str, NDArray[Any]] = {}
        for key, (name, bias) in self._names.items():
            found[name] = modules[key].weight.detach().numpy()
            if bias is not None:
                found[bias] = modules[key].bias.detach().numpy()
        return found

    def state(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        return {
            name: each.detach()
            for name, each in self._model.named_parameters()
            if each.requires_grad
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave."""
        with torch.no_grad():
            for name, each in self.state().items():
                each.copy_(state[name])


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone())
    return layer


def _peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise CompilationError(
            "adaptation needs the package peft: pip install 'girih[adapt]'"
        ) from error
