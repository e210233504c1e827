"""Weights --> weights of which N of each M neighbours are not 0, as the target multiplies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import LinearOp, ParameterOp
from girih.dialects.mfm.hollow import is_hollow
from girih.dialects.mfm.parameter import widened
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.locations import lies_in
from girih.passes.pruning.importance import mean_square, weight_name
from girih.passes.quantization.rules import nodes_of
from girih.runtime.errors import CompilationError
from girih.runtime.target import Sparsity

Array = NDArray[Any]


@dataclass(frozen=True)
class Sparsify:
    """Set to 0 what matters least of the weights of linear operations that a pattern names.

    ```
    linear(x, w)  -->  linear(x, w where among the N of each M)
    ```
    Of each M neighbouring inputs of a row stay the N of the largest ``|w[n, k]| rms(x[:, k])``:
    Wanda (Sun et al. 2023). N and M are the target's, `array.sparsity`. Without calibration all
    inputs count alike. What quantization makes of 0 is 0, also where later weights make up for the
    rounding of earlier ones.

    `match` is a pattern of module paths, for all that lies in them. Rows that are no whole groups
    of M stay as they are, and so do weights that anything but linear operations reads.
    """

    name: ClassVar[str] = "sparsify"
    match: str = "*"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Replace weights; raise `CompilationError` where the target has no use for it."""
        target = compilation.target
        if target is None or target.array.sparsity is None:
            where = "no target" if target is None else f"target {target.name!r}"
            raise CompilationError(
                f"sparsity is for a target whose array.sparsity says how many weights it keeps of "
                f"how many, such as {{keep: 2, of: 4}}: {where} declares none"
            )
        sparsity = target.array.sparsity
        functions = functions_of(module)
        nodes = nodes_of(functions)
        found = {
            name: readers
            for name, readers in _readers(functions).items()
            if compilation.parameters[name].shape[1] % sparsity.of == 0
            and any(lies_in(node, self.match) for node in nodes[name])
        }
        if not found:
            raise CompilationError(
                f"{self.name}: {self.match!r} matches no linear operation with rows of whole "
                f"groups of {sparsity.of}"
            )
        renamed = {name: f"{name}.sparse" for name in found}
        for name, readers in found.items():
            array = compilation.parameters[name]
            compilation.parameters[renamed[name]] = (
                array
                if is_hollow(array)
                else _sparse(array, _energy(readers, compilation), sparsity)
            )
        _rename(functions, renamed)


def _readers(functions: Sequence[func.FuncOp]) -> dict[str, list[LinearOp]]:
    """The linear operations that read each weight, of those that nothing else reads."""
    found: dict[str, list[LinearOp]] = {}
    others: set[str] = set()
    for function in functions:
        for op in function.entry_block.operations:
            if not isinstance(op, ParameterOp):
                continue
            name = op.parameter.value
            for use in op.result.uses:
                user = use.owner.operation.opview
                if isinstance(user, LinearOp) and weight_name(user) == name:
                    found.setdefault(name, []).append(user)
                else:
                    others.add(name)
    return {name: readers for name, readers in found.items() if name not in others}


def _energy(readers: Sequence[LinearOp], compilation: Compilation) -> Array | None:
    """Mean squares of what is multiplied with each column, added up; None where one is unknown."""
    squares = [mean_square(reader.x, compilation) for reader in readers]
    known = [each for each in squares if each is not None]
    return np.sum(known, axis=0) if len(known) == len(squares) else None


def _sparse(array: Array, energy: Array | None, sparsity: Sparsity) -> Array:
    weight = widened(array)
    scores = np.abs(weight) if energy is None else np.abs(weight) * np.sqrt(energy)
    groups = scores.reshape(len(weight), -1, sparsity.of)
    order = np.argsort(-groups, axis=-1, kind="stable")
    kept = np.zeros(groups.shape, np.bool_)
    np.put_along_axis(kept, order[..., : sparsity.keep], values=True, axis=-1)
    return np.where(kept.reshape(weight.shape), array, np.zeros((), array.dtype))


def _rename(functions: Sequence[func.FuncOp], renamed: Mapping[str, str]) -> None:
    for function in functions:
        for op in function.entry_block.operations:
            if isinstance(op, ParameterOp) and op.parameter.value in renamed:
                op.operation.attributes["parameter"] = ir.StringAttr.get(
                    renamed[op.parameter.value]
                )
