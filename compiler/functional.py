"""Exported programs without mutation, without run-time asserts and without dead code."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram, default_decompositions
from torch.export.graph_signature import (
    ConstantArgument,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from girih.compiler.complex_pairs import compute_in_pairs
from girih.compiler.definitions import DEFINITIONS
from girih.compiler.patches.decisions import Guard
from girih.compiler.refusals import node_line, refuse_dynamic, refuse_operations
from girih.compiler.sorting import SORTING
from girih.runtime.errors import ImportingError

_LISTS = (
    torch.ops.aten.unbind.int,
    torch.ops.aten.split.Tensor,
    torch.ops.aten.split_with_sizes.default,
    torch.ops.aten.chunk.default,
)
_ASSERTS = (
    "aten._assert_async",
    "aten._assert_scalar",
    "aten._assert_tensor_metadata",
    "aten.sym_constrain_range",
    "aten.sym_constrain_range_for_size",
)


_WHOLE = frozenset(
    [
        "linear",
        "matmul",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "batch_norm",
        "gelu",
        "silu",
        "elu",
        "leaky_relu",
        "hardswish",
        "hardsigmoid",
        "softplus",
        "scaled_dot_product_attention",
        "embedding",
        "softmax",
        "log_softmax",
        "index_copy",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "avg_pool1d",
        "max_pool1d",
        "max_pool2d",
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_bicubic2d",
        "_upsample_bilinear2d_aa",
        "_upsample_bicubic2d_aa",
        "_upsample_nearest_exact2d",
        "pad",
        "arange",
        "eye",
        "masked_fill",
        "masked_scatter",
        "stack",
        "split",
        "split_with_sizes",
        "unbind",
        "chunk",
        "where",
        "zeros",
        "ones",
        "full",
        "zeros_like",
        "ones_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "tril",
        "triu",
        "floor_divide",
        "rsub",
        "repeat",
        "roll",
        "flip",
        "expand_as",
        "reshape",
        "flatten",
        "narrow",
        "select_scatter",
        "slice_scatter",
        "clamp_min",
        "clamp_max",
        "square",
        "t",
        "mean",
        "var",
        "std",
        "sum",
        "addmm",
        "dropout",
        "_unsafe_view",
        "to",
        "type_as",
        "contiguous",
        "movedim",
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
    ]
)
"""Operations that stay whole: those that have, or are close to, a form in `mfm`."""


def decompositions() -> dict[torch._ops.OperatorBase, Callable[..., Any]]:  # pyright: ignore[reportPrivateUsage]
    """Torch's own definitions of the operations in the tail, by simpler ones."""
    table = default_decompositions()
    return {
        op: how
        for op, how in table.items()
        if str(op).removeprefix("aten.").partition(".")[0] not in _WHOLE
    } | {**SORTING, **DEFINITIONS}


def make_functional(program: ExportedProgram, guards: list[Guard] | None = None) -> ExportedProgram:
    """Decompose the tail, drop asserts, turn mutated inputs into results after the user's own.

    Decomposing makes mutation visible in the signature alone. Results that are not tensors (None,
    numbers) are dropped. The last of the module's own results are the guards; they are taken away,
    and those that no input decides are taken out of the list. Raises `ImportingError` where a
    buffer is state, a shape depends on data, or a guard on weights.
    """
    program = program.run_decompositions(decompositions())
    _order_results(program, [] if guards is None else guards)
    _take_lists_apart(program.graph)
    _erase_dead(program.graph)
    compute_in_pairs(program.graph)
    _erase_dead(program.graph)
    refuse_dynamic(program.graph)
    refuse_operations(program)
    program.graph_module.recompile()
    return program


def _order_results(program: ExportedProgram, guards: list[Guard]) -> None:
    specs = program.graph_signature.output_specs
    output = program.graph.output_node()
    values: Any = output.args[0]
    pairs = list(zip(specs, values, strict=True))
    read = _buffers_read(program)
    own: list[tuple[OutputSpec, Any]] = []
    mutated: list[tuple[OutputSpec, Any]] = []
    for spec, value in pairs:
        if isinstance(spec.arg, ConstantArgument) or not isinstance(spec.arg, TensorArgument):
            continue
        if spec.kind is OutputKind.BUFFER_MUTATION:
            if spec.target not in read:
                continue
            raise ImportingError(
                f"the module changes its buffer {spec.target!r}{node_line(value)}: pass it as an "
                "input, which then comes back as a result"
            )
        user = OutputSpec(OutputKind.USER_OUTPUT, spec.arg, None)
        target = mutated if spec.kind is OutputKind.USER_INPUT_MUTATION else own
        target.append((user, value))
    inputs = frozenset(program.graph_signature.user_inputs)
    for index in reversed(range(len(guards))):
        _, value = own.pop()
        sources = _sources(value)
        _refuse_weights(program, sources, guards[index])
        if sources.isdisjoint(inputs):
            del guards[index]
    ordered = own + mutated
    specs[:] = [spec for spec, _ in ordered]
    output.args = (tuple(value for _, value in ordered),)


def _buffers_read(program: ExportedProgram) -> set[str]:
    """Buffers of which a result needs the value from before the call.

    One that is overwritten before anything reads it keeps nothing from one call to the next.
    """
    buffers = program.graph_signature.inputs_to_buffers
    return {buffers[name] for name in _sources(program.graph.output_node()) if name in buffers}


def _sources(value: fx.Node) -> set[str]:
    """Names of all that a value is computed from."""
    seen: set[fx.Node] = set()
    waiting = [value]
    while waiting:
        node = waiting.pop()
        waiting.extend(each for each in node.all_input_nodes if each not in seen)
        seen.update(node.all_input_nodes)
    return {node.name for node in seen}


def _refuse_weights(program: ExportedProgram, sources: set[str], guard: Guard) -> None:
    """Refuse a decision that is made by what the model computes, and not by its inputs alone."""
    for name, weight in program.graph_signature.inputs_to_parameters.items():
        if name in sources:
            raise ImportingError(
                f"{guard.line} decides by values that are computed with {weight}: they "
                "differ from one input to the next, and shapes must be known at compile time"
            )


def _take_lists_apart(graph: fx.Graph) -> None:
    """Each item of a split tensor --> a slice or a selection of it.

    A graph without lists has one tensor per operation, and only what is read is computed. Results
    of the program keep their names, by which its signature knows them.
    """
    aten = torch.ops.aten
    results = graph.output_node().all_input_nodes
    for node in list(graph.nodes):
        if node.target is not operator.getitem or not isinstance(node.args[0], fx.Node):
            continue
        source, number = node.args
        if source.target not in _LISTS:
            continue
        x, *rest = source.args
        axis = rest[-1] if len(rest) > (source.target is not aten.unbind.int) else 0
        axis = source.kwargs.get("dim", axis)
        with graph.inserting_before(node):
            if source.target is aten.unbind.int:
                item = graph.call_function(aten.select.int, (x, axis, number))
            else:
                sizes = [value.shape[axis] for value in source.meta["val"]]
                start = sum(sizes[:number])
                end = start + sizes[number]
                item = graph.call_function(aten.slice.Tensor, (x, axis, start, end, 1))
        item.meta = dict(node.meta)
        node.replace_all_uses_with(item)
        if node in results:
            name = node.name
            graph.erase_node(node)
            item.name = name


def _erase_dead(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if node.op in ("placeholder", "output"):
            continue
        is_assert = str(node.target).rpartition(".")[0] in _ASSERTS
        if is_assert or not node.users:
            graph.erase_node(node)
