"""RMS norms written out --> `mfm.rms_norm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch_mlir import ir

from girih.dialects.mfm import AddOp, BinaryOp, ParameterOp, ReduceOp, RmsNormOp, UnaryOp
from girih.dialects.mfm.base import shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import erase_unused
from girih.passes.functions import functions_of
from girih.passes.matching import binary, defined_by, number, unshaped, used_once, with_number


@dataclass(frozen=True)
class RecognizeRmsNorm:
    """See the norm in what models write for it.

    ```
    x * rsqrt(reduce_sum(x * x) / C + epsilon) * gamma  -->  rms_norm(x, gamma, epsilon)
    ```
    gamma is a weight (C), on either side, or absent (then ones). Zhang and Sennrich 2019.
    """

    name: ClassVar[str] = "recognize-rms-norm"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function."""
        for function in functions_of(module):
            for op in list(function.entry_block.operations):
                if isinstance(op, BinaryOp) and op.function.value == "multiply":
                    _rewrite(op, compilation)
            erase_unused(function.entry_block)


def _rewrite(op: BinaryOp, compilation: Compilation) -> None:
    for x, factor in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
        epsilon = _epsilon(x, factor, compilation)
        if epsilon is None:
            continue
        last, gamma = _scaled(op)
        with ir.InsertionPoint(last), last.location:
            if gamma is None:
                width = shape(x)[-1]
                compilation.parameters.setdefault(f"ones.{width}", np.ones(width, np.float32))
                kind = ir.RankedTensorType.get([width], x.type.element_type)
                gamma = ParameterOp(
                    parameter=ir.StringAttr.get(f"ones.{width}"), result=kind
                ).result
            norm = RmsNormOp(
                x=x,
                gamma=gamma,
                epsilon=ir.FloatAttr.get(ir.F64Type.get(), epsilon),
                result=last.result.type,
            )
        last.result.replace_all_uses_with(norm.result)
        return


def _epsilon(x: ir.Value, factor: ir.Value, compilation: Compilation) -> float | None:
    """Epsilon of a factor ``rsqrt(mean(x^2) + epsilon)`` over the last axis, else None."""
    root = defined_by(unshaped(factor), UnaryOp)
    if root is None or root.function.value != "rsqrt":
        return None
    shifted = defined_by(unshaped(root.x), AddOp)
    found = None if shifted is None else with_number(shifted, compilation)
    if found is None:
        return None
    mean, epsilon = found
    quotient = binary(unshaped(mean), "divide")
    if quotient is None or number(quotient.rhs, compilation) != shape(x)[-1]:
        return None
    total = defined_by(unshaped(quotient.lhs), ReduceOp)
    if total is None or total.function.value != "sum":
        return None
    if list(total.axes) != [len(shape(x)) - 1] or shape(total.x) != shape(x):
        return None
    square = binary(total.x, "multiply")
    if square is None or square.lhs != x or square.rhs != x:
        return None
    return epsilon


def _scaled(op: BinaryOp) -> tuple[BinaryOp, ir.Value | None]:
    """The multiplication by gamma that alone follows, and gamma; else the operation itself."""
    if used_once(op.result):
        user = next(iter(op.result.uses)).owner.operation.opview
        if isinstance(user, BinaryOp) and user.function.value == "multiply":
            gamma = user.rhs if user.lhs == op.result else user.lhs
            weight = defined_by(gamma, ParameterOp)
            if weight is not None and shape(gamma) == shape(op.result)[-1:]:
                return user, gamma
    return op, None
