"""What girih makes of one product, and of Whisper tiny's whole entries, on the simulator."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from itertools import product as combinations
from pathlib import Path

from gemms import Gemm
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
from girih.passes.tiling import cost, product
from girih.runtime.executable import Kernel
from girih.runtime.report import Report
from girih.runtime.simulator import Machine
from girih.runtime.target import Target

AUDIO = Path(__file__).resolve().parent.parent / "examples" / "data" / "calibration"
ENTRIES = {"encoder": "encode", "decode step": "decode"}


@dataclass(frozen=True)
class SingleBuffered(cost.ProductTiles):
    """Tiles of which the chip holds one copy: no load overlaps the product that it waits for."""

    def slots(self, what: cost.Product) -> tuple[int, int]:
        return 1, 1

    def output_slots(self, what: cost.Product) -> int:
        return 1


def single_buffered_tiles(what: cost.Product, target: Target) -> cost.ProductTiles | None:
    """`choose_product` with one slot for everything."""
    found = cost.Cheapest[SingleBuffered]()
    side, columns = target.array.rows, target.array.columns
    for m, n, k in combinations(
        cost.candidates(what.rows, side),
        cost.candidates(what.columns, columns),
        cost.candidates(what.depth, side, min(what.depth, side)),
    ):
        for outer in ("weights", "inputs") if k == what.depth else ("weights",):
            for stationary in ("weight", "output"):
                tiles = SingleBuffered(m, n, k, outer, stationary)
                scratchpad, accumulator = cost.product_bytes(what, tiles)
                if (
                    scratchpad <= target.scratchpad_bytes
                    and accumulator <= target.accumulator_bytes
                ):
                    found.add(tiles, *cost.product_cycles(what, tiles, target))
    return found.choice()


@contextlib.contextmanager
def single_buffering() -> Generator[None]:
    """Products are tiled single buffered; the pass itself has no such option."""
    chosen = product.choose_product
    product.choose_product = single_buffered_tiles
    try:
        yield
    finally:
        product.choose_product = chosen


def simulated(module: ir.Module, target: Target, fuse: bool = True) -> list[Report]:
    """The timing of every accelerator function of a module."""
    compilation = Compilation(target=target)
    passes: tuple[Pass, ...] = (Tile(fuse=fuse), Peel(), Allocate(), Synchronize())
    for each in passes:
        each.run(module, compilation)
    kernels, top = generate(module, target)
    machine = Machine(target, dram_bytes=max(top, 64))
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


def whole(target: Target, folder: Path) -> dict[str, dict[str, Report]]:
    """The entries of Whisper tiny by step: with all fusion, with none, and with no second slot."""
    compile_whisper(target, calibration_audio=sorted(AUDIO.glob("*.wav")), dump_ir=folder)
    (partitioned,) = folder.glob("*-partition.mlir")
    text = partitioned.read_text(encoding="utf-8")
    found: dict[str, dict[str, Report]] = {}
    for step, entry in ENTRIES.items():
        found[step] = {
            "all fusion": _entry(text, entry, target, True),
            "no fusion": _entry(text, entry, target, False),
        }
        with single_buffering():
            found[step]["no fusion, products single buffered"] = _entry(text, entry, target, False)
    return found


def _entry(text: str, entry: str, target: Target, fuse: bool) -> Report:
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(text)
        for op in list(module.body.operations):
            if not op.name.value.startswith(entry):
                op.operation.erase()
        return Report.merge(simulated(module, target, fuse))
