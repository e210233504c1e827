"""Models stored in float16 or bfloat16 --> programs that compute in float32.

Half-precision arithmetic is a property of the machine that a model was trained on, not of the
model: on a CPU it is slower and less exact than float32. So the weights keep their 16 bits, on
disk and in memory, and every operation computes in float32. docs/numerics.md, "Half precision".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate, map_arg

from girih.runtime.errors import ImportingError

NARROW = (torch.float16, torch.bfloat16)
"""Element types that are stored but never computed with."""


def compute_in_float32(program: ExportedProgram) -> ExportedProgram:
    """Give every value of type float16 or bfloat16 the type float32, in place.

    Placeholders of weights are retyped too, while the tensors behind them stay as they are: what
    imports the program reads each as a float32 value in narrow storage. Inputs and results become
    float32. Raises `ImportingError` for a cast of bits, which has no such form.
    """
    nodes = list(program.graph.nodes)
    if not any(_is_narrow(node.meta.get("val")) for node in nodes):
        return program
    mode = next(
        value.fake_mode for node in nodes if hasattr(value := node.meta.get("val"), "fake_mode")
    )
    with mode, torch.no_grad():
        for node in nodes:
            node.meta.pop("tensor_meta", None)  # says the same as "val", which changes
            if node.op == "call_function":
                _retype(node)
            elif node.op in ("placeholder", "get_attr"):
                node.meta["val"] = widened(node.meta.get("val"))
    program.graph_module.recompile()
    return program


def _retype(node: fx.Node) -> None:
    if str(node.target) in ("aten.view.dtype", "aten.view_copy.dtype"):
        raise ImportingError(f"{node.target} reads the bits of a tensor as another type")
    node.args = map_aggregate(node.args, widened)  # type: ignore[assignment]
    node.kwargs = map_aggregate(node.kwargs, widened)  # type: ignore[assignment]
    args, kwargs = map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
    node.meta["val"] = node.target(*args, **kwargs)  # type: ignore[operator]


def widened(value: Any) -> Any:
    """Float32 in the place of narrower floats: of a type, of a tensor; else the value itself."""
    if isinstance(value, torch.dtype):
        return torch.float32 if value in NARROW else value
    return value.to(torch.float32) if _is_narrow(value) else value


def _is_narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in NARROW
