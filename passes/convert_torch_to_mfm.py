"""torch dialect --> mfm dialect, one operation at a time; what has no mfm form stays in torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import Operation
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.torch_to_mfm import (
    assembly,
    attention,
    compute,
    convolution,
    elementwise,
    gather,
    group_normalization,
    interpolation,
    matmul,
    movement,
    pooling,
    power,
    reduction,
    transposed_convolution,
    unary,
)
from girih.passes.torch_to_mfm.rewriter import (
    FROM_BUILTIN,
    TO_BUILTIN,
    Converter,
    NotConvertibleError,
    Rewriter,
)
from girih.runtime.errors import CompilationError

CONVERTERS: dict[str, Converter] = {
    **assembly.CONVERTERS,
    **attention.CONVERTERS,
    **compute.CONVERTERS,
    **convolution.CONVERTERS,
    **elementwise.CONVERTERS,
    **gather.CONVERTERS,
    **group_normalization.CONVERTERS,
    **interpolation.CONVERTERS,
    **matmul.CONVERTERS,
    **movement.CONVERTERS,
    **pooling.CONVERTERS,
    **power.CONVERTERS,
    **reduction.CONVERTERS,
    **transposed_convolution.CONVERTERS,
    **unary.CONVERTERS,
}

FALLBACK = "mfm.fallback"
"""Attribute: why an operation stayed in torch."""
_SILENT = ("torch.constant.", "torch.prim.ListConstruct", "torch_c.", "func.", "mfm.")


@dataclass(frozen=True)
class ConvertTorchToMfm:
    """Convert function signatures to builtin tensors and torch operations to mfm ones.

    ```
    %1 = torch.aten.linear %x, %w, %b : !torch.vtensor<[1,4],f32>, ...
    -->
    %1 = "mfm.linear"(%x, %w, %b) : (tensor<1x4xf32>, ...) -> tensor<1x8xf32>
    ```
    An operation that stays carries its reason in the attribute `mfm.fallback`; casts of torch_c
    join the two worlds.
    """

    name: ClassVar[str] = "convert-torch-to-mfm"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function; raise `CompilationError` for other than tensors at its door."""
        for function in functions_of(module):
            try:
                _convert_function(function, Rewriter(compilation))
            except NotConvertibleError as reason:
                raise CompilationError(
                    f"entry {function.name.value!r} must take and return tensors of static "
                    f"shape: {reason}"
                ) from reason


def _convert_function(function: func.FuncOp, rewriter: Rewriter) -> None:
    block = function.entry_block
    _retype_arguments(block, rewriter)
    for op in list(block.operations):
        converter = CONVERTERS.get(_name(op))
        with ir.InsertionPoint(op), op.location:
            if converter is not None:
                _convert(op, converter, rewriter)
            elif not op.operation.name.startswith(_SILENT):
                _keep(op, f"{_name(op)} has no mfm form")
            if isinstance(op, func.ReturnOp):
                for index, value in enumerate(op.operands):
                    op.operands[index] = rewriter.tensor(value)
    _retype_signature(function)
    erase_unused(block)


def _name(op: ir.OpView) -> str:
    # An operation that torch-mlir does not know arrives as an opaque `torch.operator`.
    if op.operation.name == "torch.operator":
        return op.operation.attributes["name"].value
    return op.operation.name


def _convert(op: ir.OpView, converter: Converter, rewriter: Rewriter) -> None:
    try:
        _refuse_complex(op)
        value = converter(rewriter, op)
    except NotConvertibleError as reason:
        _keep(op, str(reason))
        return
    result = op.results[0]
    result.replace_all_uses_with(rewriter.cast(FROM_BUILTIN, value, result.type))


def _refuse_complex(op: ir.OpView) -> None:
    if op.operation.name == movement.FROM_COMPLEX:
        return
    for value in (*op.operands, *op.results):
        if "complex<" in str(value.type):
            raise NotConvertibleError("complex numbers have no mfm form")


def _keep(op: ir.OpView, reason: str) -> None:
    op.operation.attributes[FALLBACK] = ir.StringAttr.get(reason)


def _retype_arguments(block: ir.Block, rewriter: Rewriter) -> None:
    first = block.operations[0]
    for index in range(len(block.arguments)):
        old = block.arguments[index]
        new = block.add_argument(rewriter.builtin_type(old), old.location)
        with ir.InsertionPoint(first), old.location:
            old.replace_all_uses_with(rewriter.cast(FROM_BUILTIN, new, old.type))
    for _ in range(len(block.arguments) // 2):
        block.erase_argument(0)


def _retype_signature(function: func.FuncOp) -> None:
    block = function.entry_block
    returned = block.operations[len(block.operations) - 1]
    signature = ir.FunctionType.get(
        [argument.type for argument in block.arguments],
        [value.type for value in returned.operands],
    )
    function.attributes["function_type"] = ir.TypeAttr.get(signature)


_PURE = (
    "torch.constant.",
    "torch.prim.ListConstruct",
    "torch.aten.",
    "torch.prims.",
    "torch.operator",
    "torch_c.",
)


def erase_unused(block: ir.Block) -> None:
    """Erase, last first, the pure operations whose results nobody reads."""
    for op in reversed(list(block.operations)):
        if op.operation.name == TO_BUILTIN:
            _cast_back(op)
        pure = isinstance(op, Operation) or op.operation.name.startswith(_PURE)
        if pure and all(not list(result.uses) for result in op.results):
            op.operation.erase()


def _cast_back(op: ir.OpView) -> None:
    """``to_builtin(from_builtin(x))`` --> ``x``."""
    owner = op.operands[0].owner
    if not isinstance(owner, ir.Block) and owner.name == FROM_BUILTIN:
        op.results[0].replace_all_uses_with(owner.operands[0])
