"""From a PyTorch module to a functional `ExportedProgram` that computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from girih.compiler.export_errors import explain, explain_run, quiet
from girih.compiler.functional import make_functional
from girih.compiler.hollow import HollowMode, hollow, is_hollow
from girih.compiler.patches.base import (
    Patch,
    Recording,
    Replacement,
    applied,
    preserved,
    record,
    replaced,
)
from girih.compiler.patches.decisions import Guard, replaying
from girih.compiler.refusals import refuse_inputs, refuse_module, refuse_results
from girih.compiler.results import tensors_of
from girih.runtime.errors import ImportingError

_TOLERANCE = 1e-3
"""Largest difference between export and eager run, relative to the largest magnitude."""


class _Bound(torch.nn.Module):
    """A module with some keyword arguments fixed: those that are not tensors."""

    def __init__(self, model: torch.nn.Module, constants: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.constants = constants

    def forward(self, **tensors: Tensor) -> Any:
        return self.model(**tensors, **self.constants)


@dataclass(frozen=True)
class Exported:
    """A functional program, and what there is to say about how it was made.

    `decisions` are the lines of the model's code that read values of the inputs: the program is for
    inputs that have the same values there.
    """

    program: ExportedProgram
    patches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()


def export(
    module: torch.nn.Module | ExportedProgram,
    inputs: Sequence[Tensor] | Mapping[str, Any],
    patches: Sequence[Patch] = (),
    values: bool = True,
) -> Exported:
    """Export a module for the shapes of its example inputs, in functional form, ops kept whole.

    The result is compared with the module on the example inputs, unless weights and inputs are
    hollow (`values` false); a difference is noted. Raises `ImportingError` naming the cause and the
    user's line when torch cannot export it.
    """
    if isinstance(module, ExportedProgram):
        return Exported(make_functional(module))
    refuse_inputs(module, inputs)
    refuse_module(module)
    model = module
    # torch.export makes one input of two arguments that are the same tensor; callers often pass
    # the same zeros for many caches.
    if isinstance(inputs, Mapping):
        args: tuple[Tensor, ...] = ()
        kwargs = {k: _distinct(v) for k, v in inputs.items() if isinstance(v, Tensor)}
        module = _Bound(module, {k: v for k, v in inputs.items() if k not in kwargs})
    else:
        args, kwargs = tuple(_distinct(value) for value in inputs), {}
    module.eval()
    recording = Recording()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            fresh_args, fresh_kwargs = pytree.tree_map(_distinct, (args, kwargs))
            with preserved(module), nullcontext() if values else HollowMode():
                record(module, patches, lambda: module(*fresh_args, **fresh_kwargs), recording)
        except Exception as error:
            raise ImportingError(explain_run(error, model)) from error
        refuse_results(model, recording.result)
        usual = [patch for patch in patches if not patch.fallback]
        try:
            exported = _trace(module, args, kwargs, usual, recording, values)
            if exported.notes and len(usual) < len(patches):
                other = _trace(module, args, kwargs, patches, recording, values)
                exported = exported if other.notes else other
        except ImportingError:
            raise
        except Exception as error:
            raise ImportingError(explain(error, model)) from error
    return exported


def _trace(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    patches: Sequence[Patch],
    recording: Recording,
    values: bool,
) -> Exported:
    """Export with patches in place, and compare with what the eager run gave."""
    guards: list[Guard] = []
    with preserved(module), applied(module, patches, recording) as names, ExitStack() as stack:
        forward = _returning_tensors(module.forward)
        if recording.replays:
            forward = replaying(forward, recording.decisions, guards)
        stack.enter_context(replaced(Replacement(module, "forward", forward)))
        with quiet():
            exported = torch.export.export(module, args, kwargs or None, strict=False)
        program = make_functional(exported, guards)
    if guards:
        names.extend(patch.name for patch in patches if patch.replays)
    return Exported(
        program,
        tuple(dict.fromkeys(names)),
        _compare(program, args, kwargs, recording.result) if values else (),
        tuple(dict.fromkeys(guard.line for guard in guards)),
    )


def _returning_tensors(forward: Callable[..., Any]) -> Callable[..., list[Tensor]]:
    """The function without what is no tensor in its result: torch.export knows no caches."""

    @wraps(forward)
    def call(*args: Any, **kwargs: Any) -> list[Tensor]:
        return tensors_of(forward(*args, **kwargs))

    return call


def _compare(
    program: ExportedProgram, args: tuple[Any, ...], kwargs: dict[str, Any], eager: Any
) -> tuple[str, ...]:
    """Say where the exported program does not compute what the module computed."""
    flat = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    found = program.graph_module(*_lifted(program), *flat)
    expected = tensors_of(eager)
    notes: list[str] = []
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=False)):
        difference = _relative_difference(ours, theirs)
        if difference > _TOLERANCE:
            notes.append(
                f"result {index} of the exported program differs from the module's by "
                f"{difference:.2g} of its largest magnitude: the module takes another path when it "
                'is traced; attn_implementation="eager" often makes both paths one'
            )
    return tuple(notes)


def _lifted(program: ExportedProgram) -> list[Tensor]:
    """The weights, buffers and constants that the graph takes before the user's inputs."""
    values: dict[str, Any] = {**program.state_dict, **program.constants}
    return [
        values[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.target is not None and spec.target in values
    ]


def _relative_difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    first, second = ours.to(torch.float64), theirs.to(torch.float64)
    equal = (first == second) | (first.isnan() & second.isnan())
    if bool(equal.all()):
        return 0.0
    largest = (
        second[second.isfinite()].abs().max() if second.isfinite().any() else second.new_ones(())
    )
    return float(
        ((first - second).abs()[~equal].max() / largest.clamp_min(1e-30)).nan_to_num(float("inf"))
    )


def _distinct(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return hollow(value.shape, value.dtype) if is_hollow(value) else value.clone()
