"""Describes compiled functions to the runtime: signatures, steps, what stayed on the host."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.costs import Cost, cost, is_work, operation_name
from girih.dialects.mfm.base import DTYPES, shape
from girih.passes.interpreter import function_named
from girih.passes.locations import module_path, source_line
from girih.passes.partition import HOST, REASON
from girih.passes.quantization.function import SCALE
from girih.passes.states import STATE
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
    total = _total(function)
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
                host += _host_operations(callee, total)
        elif isinstance(op, func.ReturnOp):
            returns = tuple(numbers[operand] for operand in op.operands)
    return Entry(name, signature_of(function), tuple(steps), returns, tuple(host))


def signature_of(function: func.FuncOp) -> Signature:
    """What a function takes and gives, with the scale of what are integers."""
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


def _host_operations(function: func.FuncOp, total: Cost) -> list[HostOperation]:
    return [
        _host_operation(op, total)
        for op in function.entry_block.operations
        if REASON in op.operation.attributes and is_work(op)
    ]


def _host_operation(op: ir.OpView, total: Cost) -> HostOperation:
    own = cost(op)
    return HostOperation(
        name=operation_name(op),
        location=module_path(op.location),
        reason=op.operation.attributes[REASON].value,
        source=source_line(op.location),
        macs=own.macs,
        bytes=own.bytes,
        macs_share=own.macs / total.macs if total.macs else 0.0,
        bytes_share=own.bytes / total.bytes if total.bytes else 0.0,
    )


def _total(function: func.FuncOp) -> Cost:
    """The cost of an entry wherever its operations run."""
    costs = [cost(op) for op in function.entry_block.operations if is_work(op)]
    return Cost(sum(each.macs for each in costs), sum(each.bytes for each in costs))
