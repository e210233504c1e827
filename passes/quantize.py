"""Float mfm --> integer mfm: 8-bit weights per channel, 8-bit or 16-bit activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.passes.base import Compilation
from girih.passes.quantization import exact, movement, pointwise, products
from girih.passes.quantization.function import FunctionQuantizer, Rule
from girih.passes.quantization.islands import mark_islands
from girih.passes.quantization.plan import Plan
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
    and weights (0 = off).
    """

    name: ClassVar[str] = "quantize"
    smoothing: float = 0.5

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function; raise `CompilationError` for what was not calibrated."""
        if not compilation.statistics:
            raise CompilationError("quantize needs ranges: run the calibrate pass before it")
        functions = [op for op in module.body.operations if isinstance(op, func.FuncOp)]
        for function in functions:
            mark_islands(function)
        plan = Plan(module, compilation, self.smoothing)
        for function in functions:
            FunctionQuantizer(function, plan, compilation, RULES, exact.RULES).run()
