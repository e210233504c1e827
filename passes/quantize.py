"""Float mfm --> integer mfm: 8-bit weights per channel, 8-bit or 16-bit activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch_mlir import ir

from girih.dialects import mfm
from girih.passes.base import Compilation
from girih.passes.functions import functions_of
from girih.passes.quantization import exact, movement, pointwise, products
from girih.passes.quantization.clipping import Ranges, clip_ranges
from girih.passes.quantization.function import FunctionQuantizer, Rule
from girih.passes.quantization.islands import mark_islands
from girih.passes.quantization.offsets import use_both_halves
from girih.passes.quantization.plan import STAYS_FLOAT, WIDE_INPUT, Plan, is_weight
from girih.passes.quantization.rules import (
    Activations,
    NodeRule,
    Precisions,
    Weights,
    nodes_of,
)
from girih.passes.quantization.scaling import Scaling, scale_channels
from girih.runtime.errors import CompilationError

RULES: dict[type, Rule] = {**movement.RULES, **pointwise.RULES, **products.RULES}


@dataclass(frozen=True)
class Quantize:
    """Replace float operations by integer ones, at the scales that `calibrate` observed.

    ```
    %y = "mfm.linear"(%x, %w, %b) : tensor<4x8xf32> ...
    -->
    %y = "mfm.integer_linear"(%x8, %w8, %p) : tensor<4x8xi8> ...
    ```
    Float arguments and results become integers too; their scale is the attribute `mfm.scale` of
    the argument or result, and the runtime converts at the door. What has no integer form stays
    float between `dequantize` and `quantize`. `smoothing` balances channels between activations
    and weights (0 = off). `weights` are those of linear operations, in bits, `rules` say where
    others hold; those of 4 bits have a scale for each group of 32. If it `compensates`, and
    `calibrate` noted how inputs go together, later weights of a row make up for the rounding of
    earlier ones. `tables` that are added or looked up, and multiplied with nothing, such as
    positions, have 16 bits or 8. `scaling` chooses the factors of channels that weights of 4 bits
    read, `ranges`, with a `percentile`, how much of what was seen activations of 8 bits can hold.
    `activations` are the bits of what weights are multiplied with, where `rules` say nothing else.
    What gelu and its like hand to linear operations has an offset.
    With `notes`, each operation says which float value its result stands for (`mfm.stands_for`),
    and `Compilation.units` what the integers are worth; a later run, of other weights, keeps that.
    """

    name: ClassVar[str] = "quantize"
    smoothing: float = 0.5
    weights: Weights = 8
    rules: tuple[NodeRule, ...] = ()
    compensates: bool = False
    tables: Literal[8, 16] = 16
    scaling: Scaling = "smoothing"
    ranges: Ranges = "largest"
    percentile: float = 99.99
    activations: Activations = 8
    notes: bool = False

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function; raise `CompilationError` for what was not calibrated."""
        if not compilation.statistics:
            raise CompilationError("quantize needs ranges: run the calibrate pass before it")
        functions = functions_of(module)
        precisions = Precisions(self.weights, self.rules, nodes_of(functions), self.activations)
        precisions.check()
        for function in functions:
            for op in function.entry_block.operations:
                if not isinstance(op, mfm.LinearOp | mfm.Conv1dOp) or not is_weight(op.weight):
                    continue
                name = op.weight.owner.opview.parameter.value
                if precisions.of(name) == "float":
                    op.operation.attributes[STAYS_FLOAT] = ir.UnitAttr.get()
                elif precisions.of_input(name) == 16:
                    op.operation.attributes[WIDE_INPUT] = ir.UnitAttr.get()
            mark_islands(function)
        plan = Plan(module, compilation)
        if compilation.units:
            plan.keep(compilation.units)
        else:
            scale_channels(plan, compilation, precisions, self.smoothing, self.scaling)
            if self.ranges != "largest":
                clip_ranges(plan, functions, compilation, self.ranges, self.percentile)
            use_both_halves(plan.groups, compilation)
        for function in functions:
            FunctionQuantizer(
                function,
                plan,
                compilation,
                RULES,
                exact.RULES,
                precisions,
                self.compensates,
                self.tables,
                self.notes,
            ).run()
