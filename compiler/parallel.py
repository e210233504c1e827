"""The same model on several accelerators: a part of each layer for each, or some of the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch_mlir import ir

from girih.compiler.pipeline import Dump, copy_module, run_passes
from girih.compiler.stages import stages
from girih.compiler.timing import time_graph
from girih.passes.base import Compilation
from girih.passes.interpreter import function_named
from girih.passes.shard_tensors import ALL_GATHER, ALL_REDUCE, ShardTensors
from girih.runtime.parallel_report import ParallelReport, pipeline_parallel, tensor_parallel
from girih.runtime.report import Report


def time_parallel(
    graph: ir.Module,
    names: Sequence[str],
    compilation: Compilation,
    dump: Dump,
    progress: Callable[[str], None],
) -> dict[str, Report]:
    """The report of each entry on the devices of the compilation's target.

    Raises `CompilationError` where the devices cannot share the model.
    """
    target = compilation.target
    assert target is not None
    assert target.devices is not None
    time = _tensor if target.devices.parallel == "tensor" else _pipeline
    return dict(time(graph, names, compilation, dump, progress))


def _tensor(
    graph: ir.Module,
    names: Sequence[str],
    compilation: Compilation,
    dump: Dump,
    progress: Callable[[str], None],
) -> dict[str, ParallelReport]:
    target = compilation.target
    assert target is not None
    assert target.devices is not None
    share = copy_module(graph)
    run_passes(share, [ShardTensors(target.devices.count)], compilation, dump, progress)
    exchanged = {name: _exchanged(share, name) for name in names}
    reports = time_graph(share, names, compilation, dump, progress)
    return {
        name: tensor_parallel(target, report, *exchanged[name]) for name, report in reports.items()
    }


def _exchanged(share: ir.Module, name: str) -> tuple[list[int], list[int]]:
    """Bytes of each all-reduce and of each all-gather of an entry."""
    function = function_named(share, name)
    reduced = [
        op.operation.attributes[ALL_REDUCE].value
        for op in function.entry_block.operations
        if ALL_REDUCE in op.operation.attributes
    ]
    return reduced, list(function.attributes[ALL_GATHER])


def _pipeline(
    graph: ir.Module,
    names: Sequence[str],
    compilation: Compilation,
    dump: Dump,
    progress: Callable[[str], None],
) -> dict[str, ParallelReport]:
    target = compilation.target
    assert target is not None
    assert target.devices is not None
    reports: dict[str, ParallelReport] = {}
    for name in names:
        found = stages(graph, name, target, target.devices.count)
        each = [
            time_graph(stage.module, [name], compilation, dump, progress)[name] for stage in found
        ]
        reports[name] = pipeline_parallel(target, each, [stage.sent for stage in found[:-1]])
    return reports
