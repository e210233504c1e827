"""A quantized graph that shows, beside its results, every value that stands for a float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.pipeline import to_bytecode
from girih.compiler.schedule import signature_of
from girih.dialects.mfm import ReshapeOp, TransposeOp
from girih.passes.differentiable.function import TorchFunction, Weights
from girih.passes.functions import functions_by_name
from girih.passes.quantization.function import STANDS_FOR
from girih.runtime.signature import Signature

Array = NDArray[Any]


@dataclass
class _Entry:
    signature: Signature
    function: TorchFunction
    constants: Mapping[int, Any]


class IntegerGraph:
    """The entries of a quantized module, read once for any weights of the same shapes."""

    def __init__(self) -> None:
        self._module: ir.Module | None = None
        self._code = b""
        self._entries: dict[str, _Entry] = {}
        self._parameters: Mapping[str, Tensor] = {}

    def load(self, module: ir.Module, parameters: Mapping[str, Array]) -> None:
        """Take a module that `Quantize(notes=True)` made, and its weights.

        Only the first is read, unless a later one differs in more than its weights. Notes of values
        that were only moved go: what was moved is worth the same.
        """
        functions = functions_by_name(module)
        for function in functions.values():
            _leave_out_moved(function)
        code = to_bytecode(module)
        if code != self._code:
            self._module, self._code = module, code
            self._entries = {
                name: _Entry(signature_of(function), TorchFunction(function, STANDS_FOR), {})
                for name, function in functions.items()
            }
        self._parameters = Weights(parameters)
        for entry in self._entries.values():
            entry.constants = entry.function.constants(self._parameters)

    def signature(self, entry: str) -> Signature:
        """What an entry takes and gives."""
        return self._entries[entry].signature

    def call(self, entry: str, stored: Sequence[Array]) -> tuple[list[Array], dict[str, Tensor]]:
        """Results of an entry, and the values that stand for float ones, by key."""
        called = self._entries[entry]
        values: dict[str, Tensor] = {}

        def note(key: str, value: Tensor) -> Tensor:
            values[key] = value
            return value

        inputs = [torch.from_numpy(array) for array in stored]
        found = called.function(inputs, self._parameters, note, called.constants)
        return [result.numpy() for result in found], values


def _leave_out_moved(function: func.FuncOp) -> None:
    block = function.entry_block
    known = set(block.arguments)
    for op in block.operations:
        attributes = op.operation.attributes
        if isinstance(op, ReshapeOp | TransposeOp) and op.operands[0] in known:
            known.add(op.result)
            if STANDS_FOR in attributes:
                del attributes[STANDS_FOR]
        elif STANDS_FOR in attributes:
            known.add(op.results[0])
