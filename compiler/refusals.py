"""What a compiled program cannot hold: refused with the user's line and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from girih.compiler.export_errors import forward_line
from girih.compiler.results import tensors_of
from girih.compiler.sorting import LONGEST
from girih.passes.advice import way_out
from girih.passes.locations import frame_text, model_frame
from girih.runtime.errors import ImportingError

_NAMESPACES = ("aten", "prims", "prim", "_operator", "torchvision", "quantized_decomposed")
"""Operators of torch itself; all others are somebody's own."""
_NO_LOWERING = ("aten.sort", "aten.topk", "aten.kthvalue", "aten.median")
"""What torch-mlir lowers to an operation that IREE refuses."""


def refuse_inputs(module: torch.nn.Module, inputs: Iterable[Any] | Mapping[str, Any]) -> None:
    """Refuse example inputs that no program takes: empty, complex, sparse, quantized tensors."""
    named = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
    for name, value in named:
        if not isinstance(value, Tensor) and tensors_of(value):
            raise ImportingError(
                f"argument {name!r} of {type(module).__name__}{_forward(module)} is a "
                f"{type(value).__name__} that holds tensors: a program takes tensors, so pass them "
                "one by one to a module that puts them together (girih.compile_generator does it "
                "for caches)"
            )
        if isinstance(value, Tensor):
            problem = _tensor_problem(value)
            if problem:
                what, advice = problem
                raise ImportingError(
                    f"argument {name!r} of {type(module).__name__}{_forward(module)} is {what}: "
                    f"{advice}"
                )


def refuse_module(module: torch.nn.Module) -> None:
    """Refuse modules that torch has quantized: their weights are not tensors any more."""
    for path, each in module.named_modules():
        place = type(each).__module__
        if re.match(r"torch\.(ao\.)?nn\.(intrinsic\.)?quantized", place):
            raise ImportingError(
                f"module {path or type(each).__name__!r} of {type(module).__name__}"
                f"{_forward(module)} is a quantized torch module ({place.rpartition('.')[2]}): "
                f"{way_out('quantized')}"
            )


def refuse_results(module: torch.nn.Module, result: Any) -> None:
    """Refuse results that a program cannot return; None and constants are left out of it."""
    leaves = pytree.tree_leaves(result)
    for leaf in leaves:
        if isinstance(leaf, str | bytes):
            raise ImportingError(
                f"{type(module).__name__}{_forward(module)} returns a {type(leaf).__name__} beside "
                "its tensors: return tensors alone, and add the rest outside of the model"
            )
    tensors = tensors_of(result)
    if not tensors:
        raise ImportingError(
            f"{type(module).__name__}{_forward(module)} returns no tensor: a program computes "
            "tensors, so return at least one"
        )
    for tensor in tensors:
        problem = _tensor_problem(tensor)
        if problem:
            raise ImportingError(
                f"a result of {type(module).__name__}{_forward(module)} is {problem[0]}: "
                f"{problem[1]}"
            )


def refuse_operations(program: ExportedProgram) -> None:
    """Refuse operations that depend on chance, branch, loop, or are not torch's own."""
    for node in program.graph.nodes:
        if node.op == "call_function":
            problem = _operation_problem(node)
            if problem:
                raise ImportingError(f"{operator_name(node)}{node_line(node)} {problem}")


def refuse_dynamic(graph: fx.Graph) -> None:
    """Refuse what has a size, or is a number, that is known at run time only."""
    for node in graph.nodes:
        value = node.meta.get("val")
        sizes = value.shape if isinstance(value, Tensor) else (value,)
        symbols = [
            size
            for size in sizes
            if isinstance(size, torch.SymInt | torch.SymFloat | torch.SymBool)
        ]
        if not symbols:
            continue
        if node.op == "placeholder":
            line = next(filter(None, (node_line(user) for user in graph.nodes)), "")
            raise ImportingError(
                f"argument {node.name!r} has the dynamic shape {_shape_text(value)}{line}: export "
                "without dynamic_shapes, and compile one entry for each shape"
            )
        name = operator_name(node)
        raise ImportingError(
            f"{name}{node_line(node)} depends on data in its size or value: {way_out(name)}"
        )


def operator_name(node: fx.Node) -> str:
    """``aten.nonzero`` and the like."""
    target = node.target
    if target is torch.ops.aten._local_scalar_dense.default:
        return "Tensor.item()"
    if isinstance(target, torch._ops.OpOverload):  # pyright: ignore[reportPrivateUsage]
        return str(target).removesuffix(".default")
    if getattr(target, "__name__", "") == "getitem" and node.all_input_nodes:
        return operator_name(node.all_input_nodes[0])
    return getattr(target, "__name__", str(target))


def node_line(node: fx.Node) -> str:
    """`` at file:line`` of the model's code, empty where torch noted none.

    Of an operation without a line of its own, that of an operand.
    """
    for each in (node, *node.all_input_nodes):
        frames = re.findall(r'File "([^"]+\.py)", line (\d+)', each.stack_trace or "")
        where = frame_text(model_frame([(file, int(line)) for file, line in reversed(frames)]))
        if where:
            return f" at {where}"
    return ""


def _operation_problem(node: fx.Node) -> str | None:
    target = node.target
    name = operator_name(node)
    if isinstance(target, torch._ops.HigherOrderOperator):  # pyright: ignore[reportPrivateUsage]
        return f"is control flow that depends on data: {way_out(name)}"
    if not isinstance(target, torch._ops.OpOverload):  # pyright: ignore[reportPrivateUsage]
        return None
    if target.namespace not in _NAMESPACES:
        return (
            "is an operation that torch does not define: write it with torch's own, or keep it "
            "outside of the compiled module"
        )
    if torch.Tag.nondeterministic_seeded in target.tags and _is_random(node):
        return f"depends on chance, and a program is a function of its inputs: {way_out(name)}"
    if name.startswith(_NO_LOWERING):
        return f"sorts an axis longer than {LONGEST}: {way_out(name)}"
    value = node.meta.get("val")
    if isinstance(value, Tensor) and value.layout is not torch.strided:
        return f"makes a sparse tensor: {way_out('to_sparse')}"
    if isinstance(value, Tensor) and value.is_quantized:
        return f"makes a quantized tensor: {way_out('quantized')}"
    return None


def _is_random(node: fx.Node) -> bool:
    """Attention and dropout are random only with a probability above 0."""
    schema: Any = node.target
    names = [argument.name for argument in schema._schema.arguments]
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    if "dropout_p" in names:
        return bool(given.get("dropout_p", 0.0))
    if "dropout" in str(schema):
        return bool(given.get("p", 0.5)) and given.get("train", True) is not False
    return True


def _tensor_problem(value: Tensor) -> tuple[str, str] | None:
    """What a tensor is that no program takes or gives, and the way out."""
    if value.numel() == 0:
        return f"empty (shape {list(value.shape)})", "pass shapes with at least one element"
    if value.layout is not torch.strided:
        return "a sparse tensor", way_out("to_sparse")
    if value.is_quantized:
        return "a quantized tensor", "pass value.dequantize(): the recipe w8a8 quantizes"
    if value.is_complex():
        return (
            f"complex ({str(value.dtype).removeprefix('torch.')})",
            "pass torch.view_as_real(value), and call torch.view_as_complex in the model",
        )
    return None


def _forward(module: torch.nn.Module) -> str:
    where = forward_line(module)
    return f" at {where}" if where else ""


def _shape_text(value: Any) -> str:
    return f"[{', '.join(map(str, value.shape))}]" if isinstance(value, Tensor) else str(value)
