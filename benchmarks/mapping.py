"""What the mapping reaches on Whisper tiny's encoder: each product by itself, and the whole.

    python benchmarks/mapping.py [--target edge small]

Products: simulated cycles with everything charged, the array's part of them beside the closed form
of a weight-stationary systolic array (SCALE-Sim: ceil(K/d) ceil(N/d) (M + 3d - 2) - 1), and DRAM
bytes beside what is compulsory and what no schedule goes below. Every streamed operand is double
buffered, but for the operand of the outer loop where that moves less. The whole encoder: with all
fusion, and without any (norms, activations and residuals as layers of their own).
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.codegen import generate
from girih.compiler.context import create_context
from girih.compiler.models.speech import compile_whisper
from girih.dialects import mfm
from girih.passes.allocate import Allocate
from girih.passes.base import Compilation, Pass
from girih.passes.partition import NPU
from girih.passes.peel import Peel
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.runtime.executable import Kernel
from girih.runtime.report import Report
from girih.runtime.simulator import Machine
from girih.runtime.target import Target

AUDIO = Path(__file__).resolve().parent.parent / "examples" / "data" / "calibration"
ENCODER = "encode"


@dataclass(frozen=True)
class Gemm:
    """(batches of) rows x depth by depth x columns, int8 to int8; or attention of these sizes."""

    name: str
    rows: int
    columns: int
    depth: int
    batches: int = 1
    kind: str = "linear"


GEMMS = (
    Gemm("query, key, value, out", 1500, 384, 384),
    Gemm("fc1", 1500, 1536, 384),
    Gemm("fc2", 1500, 384, 1536),
    Gemm("query x key", 1500, 1500, 64, 6, "matmul"),
    Gemm("weights x value", 1500, 64, 1500, 6, "matmul"),
    Gemm("attention, fused", 1500, 1500, 64, 6, "attention"),
)


def closed_form(gemm: Gemm, target: Target) -> int:
    """SCALE-Sim's cycles of the array, weight stationary."""
    side = target.array.rows
    tiles = math.ceil(gemm.depth / side) * math.ceil(gemm.columns / target.array.columns)
    return gemm.batches * (tiles * (gemm.rows + 3 * side - 2) - 1)


def simulated(module: ir.Module, target: Target, fuse: bool = True) -> list[Report]:
    """The timing of every accelerator function of a module."""
    compilation = Compilation(target=target)
    passes: tuple[Pass, ...] = (Tile(fuse=fuse), Peel(), Allocate(), Synchronize())
    for each in passes:
        each.run(module, compilation)
    kernels, top = generate(module, target)
    machine = Machine(target, dram_bytes=top)
    return [report(machine, kernel, target) for kernel in kernels.values()]


def report(machine: Machine, kernel: Kernel, target: Target) -> Report:
    """One kernel's cost without data."""
    result = machine.run(machine.load(kernel.program), functional=False)
    return Report.from_statistics(target, kernel.layers, result.cycles, result.tags)


def alone(gemm: Gemm, target: Target) -> Report:
    """One product compiled by itself."""
    with create_context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            _function(gemm)
        return simulated(module, target)[0]


def _function(gemm: Gemm) -> None:
    i8, i32, i64 = (ir.IntegerType.get_signless(bits) for bits in (8, 32, 64))

    def tensor(*sizes: int, element: ir.Type = i8) -> ir.Type:
        return ir.RankedTensorType.get(sizes, element)

    def number(value: int) -> ir.IntegerAttr:
        return ir.IntegerAttr.get(i64, value)

    m, n, k, batches = gemm.rows, gemm.columns, gemm.depth, gemm.batches
    if gemm.kind == "attention":
        types = [tensor(1, m, batches, k), tensor(1, n, batches, k), tensor(1, n, batches, k)]
    elif gemm.kind == "matmul":
        types = [tensor(batches, m, k), tensor(batches, k, n)]
    else:
        types = [tensor(m, k)]
    function = func.FuncOp(gemm.name, (types, []))
    function.attributes[NPU] = ir.UnitAttr.get()
    block = function.add_entry_block()
    with ir.InsertionPoint(block):
        values = list(block.arguments)
        if gemm.kind == "attention":
            op = mfm.IntegerAttentionOp(
                query=values[0],
                key=values[1],
                value=values[2],
                mask=None,
                score_multiplier=number(1 << 30),
                score_shift=number(40),
                output_multiplier=number(1 << 30),
                output_shift=number(38),
                causal=number(0),
                result=types[0],
            )
        elif gemm.kind == "matmul":
            op = mfm.IntegerMatmulOp(
                lhs=values[0],
                rhs=values[1],
                multiplier=number(1 << 30),
                shift=number(40),
                transposed=number(0),
                result=tensor(batches, m, n),
            )
        else:
            weight = mfm.ParameterOp(parameter=ir.StringAttr.get("w"), result=tensor(n, k))
            scales = mfm.ParameterOp(
                parameter=ir.StringAttr.get("p"), result=tensor(3, n, element=i32)
            )
            op = mfm.IntegerLinearOp(
                x=values[0], weight=weight.result, parameters=scales.result, result=tensor(m, n)
            )
        func.ReturnOp([op.result])
    kind = ir.FunctionType.get(types, [op.result.type])
    function.attributes["function_type"] = ir.TypeAttr.get(kind)
    empty = ir.DictAttr.get({})
    function.attributes["arg_attrs"] = ir.ArrayAttr.get([empty] * len(types))
    function.attributes["res_attrs"] = ir.ArrayAttr.get([empty])


def encoder(target: Target, folder: Path) -> dict[str, Report]:
    """The whole encoder, fused and not, without the keys and values of cross attention."""
    compile_whisper(target, calibration_audio=sorted(AUDIO.glob("*.wav")), dump_ir=folder)
    (partitioned,) = folder.glob("*-partition.mlir")
    found: dict[str, Report] = {}
    for name, fuse in (("all fusion", True), ("none", False)):
        with create_context(), ir.Location.unknown():
            module = ir.Module.parse(partitioned.read_text(encoding="utf-8"))
            for op in list(module.body.operations):
                if not op.name.value.startswith(ENCODER):
                    op.operation.erase()
            found[name] = Report.merge(simulated(module, target, fuse))
    return found


def megabytes(count: float) -> str:
    return f"{count / 1e6:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", nargs="+", default=["edge", "small"])
    options = parser.parse_args()
    console = Console(width=140)
    for name in options.target:
        target = Target.load(name)
        table = Table(
            "product", "M x N x K", "cycles", "array", "closed form", "MB", "compulsory", "bound",
            title=f"{name}: each product by itself",
        )  # fmt: skip
        for gemm in GEMMS:
            found = alone(gemm, target)
            (layer,) = found.layers
            moved = found.dram_read_bytes + found.dram_write_bytes
            sizes = f"{gemm.rows} x {gemm.columns} x {gemm.depth}"
            form = "-" if gemm.kind == "attention" else f"{closed_form(gemm, target):,}"
            table.add_row(
                gemm.name,
                sizes if gemm.batches == 1 else f"{gemm.batches} x {sizes}",
                f"{found.cycles:,}",
                f"{layer.busy['matrix']:,}",
                form,
                megabytes(moved),
                megabytes(layer.compulsory_bytes),
                megabytes(layer.traffic_bound_bytes),
            )
        console.print(table)
        with tempfile.TemporaryDirectory() as folder:
            whole = encoder(target, Path(folder))
        table = Table(
            "fusion", "cycles", "x roofline", "MB", "x bound", "energy, mJ",
            title=f"{name}: the whole encoder, with the keys and values for the decoder",
        )  # fmt: skip
        # The work is the same: the bounds are those of the fused regions.
        roofline = whole["all fusion"].roofline_cycles
        least = whole["all fusion"].traffic_bound_bytes
        for label, found in whole.items():
            moved = found.dram_read_bytes + found.dram_write_bytes
            table.add_row(
                label,
                f"{found.cycles:,}",
                f"{found.cycles / roofline:.3f}",
                megabytes(moved),
                f"{moved / least:.2f}",
                f"{np.round(found.energy_joules * 1e3, 1)}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
