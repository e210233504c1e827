"""From a quantized graph to its time on the simulator: no weights, no host code, no data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.codegen import generate
from girih.compiler.compilation import only
from girih.compiler.pipeline import Dump, accelerator_passes, copy_module, run_passes
from girih.compiler.repetition import Shortened, lengthen, shorten
from girih.compiler.schedule import describe_entry
from girih.passes.base import Compilation
from girih.passes.partition import NPU, Partition
from girih.runtime.accelerator import time_entry
from girih.runtime.errors import CompilationError
from girih.runtime.executable import Kernel
from girih.runtime.report import Report
from girih.runtime.target import Target


def time_graph(
    graph: ir.Module,
    names: Sequence[str],
    compilation: Compilation,
    dump: Dump,
    progress: Callable[[str], None],
) -> dict[str, Report]:
    """The report of each entry of a module on the compilation's target."""
    target = _target(compilation)
    parts = copy_module(graph)
    run_passes(parts, [Partition()], compilation, dump, progress)
    described = {name: describe_entry(graph, parts, name) for name in names}
    kernels = _kernels(only(parts, NPU), compilation, dump, progress)
    reports: dict[str, Report] = {}
    for name, entry in described.items():
        progress(f"time {name}")
        reports[name] = time_entry(target, entry, kernels)
    return reports


def _target(compilation: Compilation) -> Target:
    assert compilation.target is not None
    return compilation.target


def _kernels(
    module: ir.Module,
    compilation: Compilation,
    dump: Dump,
    progress: Callable[[str], None],
) -> dict[str, Kernel]:
    """Machine code that is good for timing, of every accelerator segment of a module.

    Layers that repeat are compiled a few times for all (`repetition.py`), and one by one where that
    would not be exact. Raises `CompilationError` where the target cannot hold the model.
    """
    target = _target(compilation)
    whole = copy_module(module)
    shortened: dict[str, Shortened] = {}
    for op in module.body.operations:
        if isinstance(op, func.FuncOp) and (found := shorten(op)) is not None:
            shortened[op.name.value] = found
    run_passes(module, accelerator_passes(), compilation, dump, progress)
    progress("generate")
    kernels, dram_bytes = generate(module, target)
    known = {tensor.name for kernel in kernels.values() for tensor in kernel.dram}
    lost = {name: size for each in shortened.values() for name, size in each.tensors.items()}
    dram_bytes += sum(size for name, size in lost.items() if name not in known)
    if dram_bytes > target.dram.capacity_bytes:
        raise CompilationError(
            f"the model takes about {dram_bytes} bytes of DRAM, target {target.name!r} has "
            f"{target.dram.capacity_bytes}"
        )
    uneven: list[str] = []
    for name, found in shortened.items():
        kernel = lengthen(kernels[name], found)
        if kernel is None:
            uneven.append(name)
        else:
            kernels[name] = kernel
    if uneven:
        for op in list(whole.body.operations):
            if isinstance(op, func.FuncOp) and op.name.value not in uneven:
                op.operation.erase()
        run_passes(whole, accelerator_passes(), compilation, dump, progress)
        progress("generate")
        kernels |= generate(whole, target)[0]
    return kernels
