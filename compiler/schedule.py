"""Describes compiled functions to the runtime: signatures, steps, what stayed on the host."""

from __future__ import annotations

import re
from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm.base import DTYPES, shape
from girih.passes.interpreter import function_named
from girih.passes.partition import HOST, REASON
from girih.passes.quantization.plan import STATE
from girih.passes.quantize import SCALE
from girih.runtime.executable import Entry, HostOperation, Step
from girih.runtime.signature import Signature, TensorSpec


def describe_entry(graph: ir.Module, parts: ir.Module, name: str) -> Entry:
    """An entry of the whole graph, with the steps of its partitioned form."""
    function = function_named(graph, name)
    split = function_named(parts, name)
    numbers: dict[ir.Value, int] = {
        argument: index for index, argument in enumerate(split.entry_block.arguments)
    }
    steps: list[Step] = []
    host: list[HostOperation] = []
    returns: tuple[int, ...] = ()
    for op in split.entry_block.operations:
        if isinstance(op, func.CallOp):
            callee = function_named(parts, op.callee.value)
            arguments = tuple(numbers[operand] for operand in op.operands)
            for result in op.results:
                numbers[result] = len(numbers)
            results = tuple(numbers[result] for result in op.results)
            kind = "host" if HOST in callee.attributes else "npu"
            steps.append(Step(kind, op.callee.value, arguments, results))
            if kind == "host":
                host += _host_operations(callee)
        elif isinstance(op, func.ReturnOp):
            returns = tuple(numbers[operand] for operand in op.operands)
    return Entry(name, _signature(function), tuple(steps), returns, tuple(host))


def _signature(function: func.FuncOp) -> Signature:
    block = function.entry_block
    returned = block.operations[len(block.operations) - 1]
    return Signature(
        _specs(function, "arg_attrs", list(block.arguments), "argument"),
        _specs(function, "res_attrs", list(returned.operands), "result"),
    )


def _specs(
    function: func.FuncOp, side: str, values: list[ir.Value], label: str
) -> tuple[TensorSpec, ...]:
    attributes = function.attributes
    specs: list[TensorSpec] = []
    for index, value in enumerate(values):
        entry: Any = attributes[side][index] if side in attributes else {}
        state = entry[STATE].value if STATE in entry else None
        scale = entry[SCALE].value if SCALE in entry else None
        stored = DTYPES[str(value.type.element_type)].name
        specs.append(
            TensorSpec(
                name=state or f"{label}{index}",
                shape=shape(value),
                dtype=stored if scale is None else "float32",
                stored=stored,
                scale=scale,
                state=state,
            )
        )
    return tuple(specs)


def _host_operations(function: func.FuncOp) -> list[HostOperation]:
    return [
        HostOperation(
            name=op.operation.name,
            location=op.location.name_str if isinstance(op.location, ir.NameLoc) else "",
            reason=op.operation.attributes[REASON].value,
            source=source_line(op.location),
        )
        for op in function.entry_block.operations
        if REASON in op.operation.attributes
        and op.operation.name.startswith(("mfm.", "torch.aten"))
    ]


def source_line(location: ir.Location) -> str:
    """``file:line`` of the user's Python behind a location: the last frame outside packages."""
    frames = re.findall(r'"([^"]+\.py)":(\d+)', str(location))
    own = [frame for frame in frames if "site-packages" not in frame[0]] or frames
    return ":".join(own[0]) if own else ""
