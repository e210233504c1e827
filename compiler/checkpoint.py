"""Checkpoints: a module's weights from safetensors files, mapped into memory and never copied."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from girih.compiler.weights import read_safetensors
from girih.dialects.mfm.base import is_narrow
from girih.runtime.errors import ArtifactError, ImportingError

_Module = TypeVar("_Module", bound=nn.Module)

_INDEX = "*.safetensors.index.json"
_SHOWN = 3


@contextmanager
def empty_weights() -> Generator[None]:
    """Modules made inside have parameters without memory (on the meta device) and real buffers.

    Unlike ``with torch.device("meta")`` this keeps what no checkpoint holds, such as a table of
    rotary frequencies.

        with girih.empty_weights():
            model = LlamaForCausalLM(config)
        girih.load_checkpoint(model, "model.safetensors")
    """
    register = nn.Module.register_parameter

    def register_empty(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        # A parameter that is empty already may be one that two modules share: it must stay one.
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    setattr(nn.Module, "register_parameter", register_empty)  # noqa: B010
    try:
        yield
    finally:
        nn.Module.register_parameter = register


def load_checkpoint(module: _Module, path: str | Path) -> _Module:
    """Put the weights of a checkpoint in the place of a module's own; return the module.

    They stay in the file, mapped: memory is taken only for what is read. Element types are those
    of the file; `girih.compile` computes in float32 whatever they are. Names that share a tensor
    in the module (tied weights) share it afterwards; the file needs one of them. What else the
    file holds is ignored.

    Args:
        module: built from the checkpoint's configuration, best under `empty_weights`.
        path: a safetensors file, or a folder of them with or without an index.

    Raises:
        ArtifactError: a file is missing, truncated or not safetensors.
        ImportingError: a weight is missing or has another shape. The module is unchanged.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for file in _files(Path(path)):
        arrays.update(read_safetensors(file, private=True))
    chosen = _match(module, arrays, Path(path))
    for names, array in chosen:
        tensor = _as_tensor(array)
        old = _get(module, names[0])
        new = nn.Parameter(tensor, old.requires_grad) if isinstance(old, nn.Parameter) else tensor
        for name in names:
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, new)
    return module


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    for index in sorted(path.glob(_INDEX)):
        try:
            files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise ArtifactError(f"checkpoint {index}: is not an index of weights") from error
        return sorted({path / str(file) for file in files})
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ArtifactError(f"checkpoint {path}: has no *.safetensors file in it")
    return files


def _match(
    module: nn.Module, arrays: Mapping[str, NDArray[Any]], path: Path
) -> list[tuple[list[str], NDArray[Any]]]:
    """The names of each tensor of the module, and its array; checks all before any is used."""
    groups: dict[int, list[str]] = {}
    for source in (module.named_parameters, module.named_buffers):
        for name, tensor in source(remove_duplicate=False):
            groups.setdefault(id(tensor), []).append(name)
    kept = {*module.state_dict()}
    chosen: list[tuple[list[str], NDArray[Any]]] = []
    missing: list[str] = []
    for names in groups.values():
        found = next((name for name in names if name in arrays), None)
        tensor = _get(module, names[0])
        if found is not None:
            _check(found, tensor, arrays[found], path)
            chosen.append((names, arrays[found]))
        elif tensor.is_meta or not kept.isdisjoint(names):
            missing.append(names[0])
    if missing:
        known = {name for names in groups.values() for name in names}
        others = sorted(set(arrays) - known)
        hint = f"; it has {_listed(others)}, which the module lacks" if others else ""
        raise ImportingError(f"checkpoint {path} has no {_listed(missing)}{hint}")
    return chosen


def _check(name: str, tensor: Tensor, array: NDArray[Any], path: Path) -> None:
    if tuple(tensor.shape) != array.shape:
        raise ImportingError(
            f"checkpoint {path} has {name} of shape {list(array.shape)}, "
            f"the module expects {list(tensor.shape)}"
        )
    is_float = array.dtype.kind == "f" or is_narrow(array.dtype)
    if tensor.is_floating_point() != is_float:
        raise ImportingError(
            f"checkpoint {path} has {name} of type {array.dtype}, the module expects {tensor.dtype}"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _get(module: nn.Module, name: str) -> Tensor:
    parent, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(parent), leaf)


def _as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor over the array's memory."""
    if array.dtype.name == "bfloat16":  # torch does not know NumPy's
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
