"""What girih makes of one product, and of Whisper tiny's whole entries, on the simulator."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gemms import Gemm
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.codegen import generate
from girih.compiler.context import create_context
from girih.compiler.models.speech import compile_whisper
from girih.dialects import mfm
from girih.passes.allocate import Allocate
from girih.passes.arrange_dram import ArrangeDram
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
ENTRIES = {"encoder": "encode", "decode step": "decode"}

FUSED = Tile()
UNFUSED = Tile(fuse=False)
SINGLE = Tile(fuse=False, double_buffer=False)


def compiled(
    module: ir.Module, target: Target, tile: Tile = FUSED, arrange: bool = True
) -> tuple[list[Kernel], int]:
    """Machine code of every accelerator function of a module, and the DRAM that it needs."""
    compilation = Compilation(target=target)
    passes: list[Pass] = [tile, Peel(), Allocate()]
    if arrange:
        passes.append(ArrangeDram())
    for each in (*passes, Synchronize()):
        each.run(module, compilation)
    kernels, top = generate(module, target)
    return list(kernels.values()), top


def simulated(module: ir.Module, target: Target, tile: Tile = FUSED) -> list[Report]:
    """The timing of every accelerator function of a module."""
    kernels, top = compiled(module, target, tile)
    machine = Machine(target, dram_bytes=max(top, 64))
    return [report(machine, kernel, target) for kernel in kernels]


def report(machine: Machine, kernel: Kernel, target: Target) -> Report:
    """One kernel's cost without data."""
    result = machine.run(machine.load(kernel.program), functional=False)
    return Report.from_statistics(target, kernel.layers, result.cycles, result.tags)


def alone(gemm: Gemm, target: Target, tile: Tile = FUSED) -> Report:
    """One product compiled by itself."""
    with create_context(), ir.Location.unknown():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            _function(gemm)
        return simulated(module, target, tile)[0]


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


def partitioned(target: Target) -> str:
    """Whisper's graph in integers, split into what the accelerator and the host run."""
    with tempfile.TemporaryDirectory() as folder:
        compile_whisper(target, calibration_audio=sorted(AUDIO.glob("*.wav")), dump_ir=Path(folder))
        (file,) = Path(folder).glob("*-partition.mlir")
        return file.read_text(encoding="utf-8")


def entry_alone(text: str, entry: str = ENTRIES["encoder"]) -> ir.Module:
    """One entry's functions of what `partitioned` gave, in the current context."""
    module = ir.Module.parse(text)
    for op in list(module.body.operations):
        if not op.name.value.startswith(entry):
            op.operation.erase()
    return module


def whole(target: Target) -> dict[str, dict[str, Report]]:
    """The entries of Whisper tiny by step: with all fusion, with none, and with no second slot."""
    text = partitioned(target)
    return {
        step: {
            "all fusion": _entry(text, entry, target, FUSED),
            "no fusion": _entry(text, entry, target, UNFUSED),
            "no fusion, products single buffered": _entry(text, entry, target, SINGLE),
        }
        for step, entry in ENTRIES.items()
    }


def _entry(text: str, entry: str, target: Target, tile: Tile) -> Report:
    with create_context(), ir.Location.unknown():
        return Report.merge(simulated(entry_alone(text, entry), target, tile))
