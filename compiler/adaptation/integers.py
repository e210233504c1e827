"""A quantized graph on IREE that shows, beside its results, every value that stands for a float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.iree import compile_to_vmfb
from girih.compiler.pipeline import copy_module, host_passes, run_passes, to_bytecode
from girih.compiler.schedule import signature_of
from girih.passes.base import Compilation
from girih.passes.quantization.function import STANDS_FOR
from girih.runtime.iree import IreeExecutor
from girih.runtime.signature import Signature

Array = NDArray[Any]


@dataclass(frozen=True)
class _Shown:
    """One entry: `keys` are the float values that results stand for, by the results' numbers."""

    signature: Signature
    keys: dict[str, int]


class IntegerGraph:
    """The entries of a quantized module, compiled once for any weights of the same shapes."""

    def __init__(self) -> None:
        self._compiled = b""
        self._code = b""
        self._entries: dict[str, _Shown] = {}
        self._executor: IreeExecutor | None = None

    def load(self, module: ir.Module, parameters: Mapping[str, Array]) -> None:
        """Take a module that `Quantize(notes=True)` made, and its weights.

        Only the first is compiled, unless a later one differs in more than its weights.
        """
        code = to_bytecode(module)
        if code != self._code:
            shown = copy_module(module)
            self._entries = {
                function.name.value: _show(function)
                for function in shown.body.operations
                if isinstance(function, func.FuncOp)
            }
            run_passes(shown, host_passes(), Compilation(dict(parameters)))
            self._compiled, self._code = compile_to_vmfb(shown), code
        self._executor = IreeExecutor(self._compiled, parameters)

    def signature(self, entry: str) -> Signature:
        """What an entry takes and gives."""
        return self._entries[entry].signature

    def call(self, entry: str, stored: Sequence[Array]) -> tuple[list[Array], dict[str, Array]]:
        """Results of an entry, and the values that stand for float ones, by key."""
        assert self._executor is not None
        shown = self._entries[entry]
        found: list[Array] = self._executor.call(entry, *stored)
        values = {key: found[number] for key, number in shown.keys.items()}
        return found[: len(shown.signature.results)], values


def _show(function: func.FuncOp) -> _Shown:
    """Return also what stands for a float value; say where."""
    signature = signature_of(function)
    block = function.entry_block
    *operations, returned = block.operations
    values = list(returned.operands)
    keys: dict[str, int] = {}
    for op in operations:
        if STANDS_FOR in op.operation.attributes:
            result = op.results[0]
            if result not in values:
                values.append(result)
            keys[op.operation.attributes[STANDS_FOR].value] = values.index(result)
    with ir.InsertionPoint(returned), returned.location:
        func.ReturnOp(values)
    returned.operation.erase()
    attributes = function.attributes
    types = [argument.type for argument in block.arguments]
    attributes["function_type"] = ir.TypeAttr.get(
        ir.FunctionType.get(types, [value.type for value in values])
    )
    if "res_attrs" in attributes:
        known = list(attributes["res_attrs"])
        more = [ir.DictAttr.get({})] * (len(values) - len(known))
        attributes["res_attrs"] = ir.ArrayAttr.get([*known, *more])
    return _Shown(signature, keys)
