"""Exported programs without mutation, without run-time asserts and without dead code."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from girih.runtime.errors import ImportingError

_ASSERTS = (
    "aten._assert_async",
    "aten._assert_scalar",
    "aten._assert_tensor_metadata",
    "aten.sym_constrain_range",
    "aten.sym_constrain_range_for_size",
)


def make_functional(program: ExportedProgram) -> ExportedProgram:
    """Drop asserts and what only they read; turn mutated inputs into results, after the user's own.

    The program has passed `run_decompositions({})`, so that mutation is only in its signature.
    Results that are not tensors (None, numbers) are dropped. The program is changed in place.
    Raises `ImportingError` where a buffer is mutated or a shape depends on data.
    """
    _order_results(program)
    _erase_dead(program.graph)
    _refuse_dynamic(program.graph)
    program.graph_module.recompile()
    return program


def _order_results(program: ExportedProgram) -> None:
    specs = program.graph_signature.output_specs
    output = program.graph.output_node()
    pairs = list(zip(specs, output.args[0], strict=True))  # type: ignore[arg-type]
    own: list[tuple[OutputSpec, Any]] = []
    mutated: list[tuple[OutputSpec, Any]] = []
    for spec, value in pairs:
        if isinstance(spec.arg, ConstantArgument) or not isinstance(spec.arg, TensorArgument):
            continue
        if spec.kind is OutputKind.BUFFER_MUTATION:
            raise ImportingError(
                f"the module changes its buffer {spec.target!r}: pass it as an input, which then "
                "comes back as a result"
            )
        user = OutputSpec(OutputKind.USER_OUTPUT, spec.arg, None)
        target = mutated if spec.kind is OutputKind.USER_INPUT_MUTATION else own
        target.append((user, value))
    ordered = own + mutated
    specs[:] = [spec for spec, _ in ordered]
    output.args = (tuple(value for _, value in ordered),)


def _erase_dead(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if node.op in ("placeholder", "output"):
            continue
        is_assert = str(node.target).rpartition(".")[0] in _ASSERTS
        if is_assert or not node.users:
            graph.erase_node(node)


def _refuse_dynamic(graph: fx.Graph) -> None:
    """Refuse what has a size that is known at run time only."""
    for node in graph.nodes:
        value = node.meta.get("val")
        sizes = value.shape if isinstance(value, torch.Tensor) else (value,)
        if any(isinstance(size, torch.SymInt | torch.SymFloat | torch.SymBool) for size in sizes):
            raise ImportingError(
                f"{node.target} yields a size or a number that depends on data"
                f"{_where(node)}: shapes must be known at compile time"
            )


def _where(node: fx.Node) -> str:
    lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    if not files:
        return ""
    name, line = files[-1].removeprefix("File ").split(", ")[:2]
    return f" ({name.strip(chr(34))}:{line.removeprefix('line ')})"
