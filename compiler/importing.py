"""From `torch.export` to the torch dialect: nothing decomposed, no weight in the IR."""

from __future__ import annotations

import logging
from typing import Any

import torch
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram
from torch_mlir import ir
from torch_mlir.extras.fx_importer import ContextCache, FxImporter, FxImporterHooks, InputInfo

from girih.compiler.hollow import is_hollow
from girih.compiler.precision import compute_in_float32
from girih.dialects.mfm import ParameterOp
from girih.dialects.mfm.base import is_narrow
from girih.runtime.errors import ImportingError


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


class Importer:
    """Imports exported programs, one function each, into one module; collects their weights.

    Weights are keyed by storage, so entries that share a tensor share a parameter; the arrays are
    views of torch's memory, never copies.
    """

    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.parameters: dict[str, NDArray[Any]] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._tensors: list[Tensor] = []

    def import_entry(self, name: str, program: ExportedProgram) -> None:
        """Append ``func.func @name`` in the torch dialect to the module."""
        program = compute_in_float32(program)
        importer = FxImporter(module=self.module, hooks=_Hooks(self, name))
        # The importer has no other door for locations of one's own.
        untyped: Any = importer
        untyped._cc = _Locations(self.module.context)
        logging.getLogger("torch_mlir").setLevel(logging.ERROR)
        try:
            importer.import_program(program, func_name=name)
        except (NotImplementedError, TypeError, ValueError, AssertionError) as error:
            raise ImportingError(
                f"torch-mlir cannot import entry {name!r}: {_first_line(str(error))}"
            ) from error

    def name_of(self, tensor: Tensor, suggestion: str) -> str:
        """The parameter name of a tensor: one name per distinct memory."""
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if key not in self._names:
            name, attempt = suggestion, 1
            while name in self.parameters:
                attempt += 1
                name = f"{suggestion}.{attempt}"
            self._names[key] = name
            self.parameters[name] = _as_array(tensor)
            # While this lives, no other tensor has its address.
            self._tensors.append(tensor)
        return self._names[key]


def _as_array(tensor: Tensor) -> NDArray[Any]:
    """A view of a tensor's memory; a copy only where its elements do not lie in order.

    A hollow tensor is a hollow array: its memory is that of one element.
    """
    tensor = tensor.detach()
    if not is_hollow(tensor):
        tensor = tensor.contiguous()
    if tensor.dtype == torch.bfloat16:
        # NumPy has no bfloat16 of its own, and torch does not know the package that adds it.
        return tensor.view(torch.int16).numpy().view(bfloat16)
    return tensor.numpy()


class _Hooks(FxImporterHooks):
    """Turns each weight into an ``mfm.parameter`` under a cast to torch's tensor type."""

    def __init__(self, importer: Importer, entry: str) -> None:
        self.importer = importer
        self.entry = entry
        self.constants = 0

    def resolve_input(self, gni: Any, value: Any, info: InputInfo) -> ir.Value | None:
        return self._parameter(value, info.input_spec.target or f"{self.entry}.input")

    def resolve_literal(self, gni: Any, literal: Any, info: InputInfo | None) -> ir.Value | None:
        if not isinstance(literal, Tensor):
            return None
        self.constants += 1
        return self._parameter(literal, f"{self.entry}.constant{self.constants}")

    def _parameter(self, tensor: Tensor, suggestion: str) -> ir.Value:
        if tensor.is_complex():
            return self._complex(tensor, suggestion)
        name = self.importer.name_of(tensor, suggestion)
        array = self.importer.parameters[name]
        with self.importer.module.context:
            element = _element_type(array)
            builtin = ir.RankedTensorType.get(array.shape, element)
            sizes = ",".join(str(size) for size in array.shape)
            torch_type = ir.Type.parse(f"!torch.vtensor<[{sizes}],{_torch_spelling(array)}>")
        parameter = ParameterOp(parameter=ir.StringAttr.get(name), result=builtin)
        return ir.Operation.create(
            "torch_c.from_builtin_tensor", [torch_type], [parameter.result]
        ).result

    def _complex(self, tensor: Tensor, suggestion: str) -> ir.Value:
        """Weights are real: a complex one is the pair of its parts, put together in torch."""
        parts = self._parameter(torch.view_as_real(tensor.detach().resolve_conj()), suggestion)
        sizes = ",".join(str(size) for size in tensor.shape)
        element = "f32" if tensor.dtype == torch.complex64 else "f64"
        with self.importer.module.context:
            kind = ir.Type.parse(f"!torch.vtensor<[{sizes}],complex<{element}>>")
        return ir.Operation.create("torch.aten.view_as_complex", [kind], [parts]).result


def _element_type(array: NDArray[Any]) -> ir.Type:
    """The type that a weight is computed with: float16 and bfloat16 are only stored."""
    if is_narrow(array.dtype):
        return ir.F32Type.get()
    if array.dtype.kind == "f":
        return {4: ir.F32Type, 8: ir.F64Type}[array.dtype.itemsize].get()
    if array.dtype.kind == "b":
        return ir.IntegerType.get_signless(1)
    return ir.IntegerType.get_signless(8 * array.dtype.itemsize)


def _torch_spelling(array: NDArray[Any]) -> str:
    """Torch's dialect tells signed integers from unsigned ones; builtin tensors do not."""
    if is_narrow(array.dtype):
        return "f32"
    prefix = {"f": "f", "b": "i", "i": "si", "u": "ui"}[array.dtype.kind]
    return prefix + ("1" if array.dtype.kind == "b" else str(8 * array.dtype.itemsize))


class _Locations(ContextCache):
    """Names each operation after the torch module that it came from, over its source line."""

    def get_node_location(self, node: torch.fx.Node) -> ir.Location | None:
        source = super().get_node_location(node)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack else ""
        # Functions called straight from the outermost module have no path of their own.
        name = path.removeprefix("L['self'].") or node.name
        return ir.Location.name(name, source, context=self._c)
