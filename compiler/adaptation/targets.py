"""Which weights an adaptation trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.adaptation.settings import Settings
from girih.dialects.mfm import EmbeddingOp, LinearOp, ParameterOp
from girih.passes.functions import functions_of
from girih.passes.locations import lies_in
from girih.passes.matching import defined_by
from girih.passes.quantization.rules import nodes_of
from girih.runtime.errors import CompilationError


def trained_weights(module: ir.Module, settings: Settings) -> dict[str, str | None]:
    """Names of the weights to train, each with its bias, where that is the weight's alone.

    Those of linear operations, where nothing else reads them: other readers' attributes would
    depend on them. Raises `CompilationError` for a pattern that names none.
    """
    functions = functions_of(module)
    kinds: dict[str, set[tuple[type, str]]] = defaultdict(set)
    for function in functions:
        for op in function.entry_block.operations:
            if isinstance(op, ParameterOp):
                kinds[op.parameter.value] |= _readings(op)
    biases = _biases(functions)
    allowed = {(LinearOp, "weight")} | ({(EmbeddingOp, "table")} if settings.tied else set())
    nodes = {
        name: found
        for name, found in nodes_of(functions).items()
        if (LinearOp, "weight") in kinds[name] and kinds[name] <= allowed
    }
    chosen: dict[str, str | None] = {}
    for pattern in settings.match:
        found = [name for name in nodes if any(lies_in(each, pattern) for each in nodes[name])]
        if not found:
            every = sorted({each for found in nodes.values() for each in found})
            some = ", ".join(every[:3]) + (", ..." if len(every) > 3 else "")
            raise CompilationError(
                f"no linear operation to train lies in {pattern!r}; there are {some or 'none'}"
            )
        for name in found:
            bias = biases.get(name)
            is_own = bias is not None and kinds[bias] == {(LinearOp, "bias")}
            shared = [other for other, its in biases.items() if its == bias]
            chosen[name] = bias if is_own and len(shared) == 1 else None
    return chosen


def _readings(op: ParameterOp) -> set[tuple[type, str]]:
    """Kinds of operations that read a parameter, and as what."""
    found: set[tuple[type, str]] = set()
    for use in op.result.uses:
        reader = use.owner.operation.opview
        role = ""
        for name in ("weight", "bias", "table"):
            value = getattr(reader, name, None)
            if value is not None and value == op.result:
                role = name
        found.add((type(reader), role))
    return found


def _biases(functions: Sequence[func.FuncOp]) -> dict[str, str]:
    """The bias of each linear operation's weight, where all operations that read it agree."""
    found: dict[str, set[str | None]] = defaultdict(set)
    for function in functions:
        for op in function.entry_block.operations:
            if isinstance(op, LinearOp):
                weight = defined_by(op.weight, ParameterOp)
                bias = None if op.bias is None else defined_by(op.bias, ParameterOp)
                if weight is not None:
                    name = None if bias is None else bias.parameter.value
                    found[weight.parameter.value].add(name)
    return {
        weight: name for weight, (name, *others) in found.items() if name is not None and not others
    }
