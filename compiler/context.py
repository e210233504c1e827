"""The one MLIR context configuration: torch's dialects, ours, and the standard ones."""

from __future__ import annotations

from typing import Any

from torch_mlir import _mlir_libs, ir
from torch_mlir.dialects import torch as torch_dialect
from torch_mlir.passmanager import PassManager

from girih.dialects.mfm import Mfm
from girih.dialects.npu import Npu

# The bindings look for a module of a dialect's name at every look at one of its operations, until
# they have found one: without this, half of a compilation is spent in Python's import machinery.
_bindings: Any = _mlir_libs
_bindings._mlir.globals.append_dialect_search_prefix("girih.dialects")


def create_context() -> ir.Context:
    """Return a context in which every dialect of the pipeline is loaded.

    Unregistered dialects are allowed because IREE's (`util`, `flow`) are known to IREE alone: we
    build their few operations generically.
    """
    context = ir.Context()
    context.allow_unregistered_dialects = True
    torch_dialect.register_dialect(context)
    with context, ir.Location.unknown():
        # `torch_c`, the casts between torch's tensors and builtin ones, is a dialect that only a
        # conversion pass loads.
        empty = ir.Module.create()
        PassManager.parse("builtin.module(torch-func-backend-type-conversion)").run(empty.operation)
        Mfm.load()
        Npu.load()
    return context
