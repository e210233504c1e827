"""Latency of single quantized operations on IREE, at the shapes of Whisper-tiny's encoder.

    python benchmarks/iree_ops.py [--seconds S] [NAME ...]

For each: the fastest call, the median call, the fastest call's CPU time over all threads (which
another load on the machine disturbs least), and multiply-accumulates per second of the fastest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.context import create_context
from girih.compiler.iree import compile_to_vmfb
from girih.dialects import mfm
from girih.dialects.mfm.activation import ramp_table
from girih.passes.base import Compilation
from girih.passes.convert_mfm_to_linalg import ConvertMfmToLinalg
from girih.runtime.iree import IreeExecutor

RNG = np.random.default_rng(0)
ROWS, WIDTH, HEADS = 1500, 384, 6


def integer(value: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), value)


def kind(array_or_sizes: Any, bits: int) -> ir.Type:
    return ir.RankedTensorType.get(list(array_or_sizes), ir.IntegerType.get_signless(bits))


class Bench:
    """One function per operation, compiled together."""

    def __init__(self) -> None:
        self.weights: dict[str, Any] = {}
        self.inputs: dict[str, list[Any]] = {}
        self.macs: dict[str, int] = {}
        with create_context() as context, ir.Location.unknown():
            self.context, self.module = context, ir.Module.create()

    def weight(self, array: Any) -> ir.Value:
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        result = kind(array.shape, 8 * array.itemsize)
        return mfm.ParameterOp(parameter=ir.StringAttr.get(name), result=result).result

    def rescale(self, channels: int, shift: int) -> ir.Value:
        columns = [RNG.integers(-999, 999, channels), np.full(channels, 1 << 30)]
        return self.weight(np.stack([*columns, np.full(channels, shift)]).astype(np.int32))

    def add(self, name: str, inputs: list[Any], macs: int, build: Callable[..., Any]) -> None:
        self.inputs[name], self.macs[name] = inputs, macs
        with self.context, ir.Location.unknown():
            types = [kind(array.shape, 8 * array.itemsize) for array in inputs]
            with ir.InsertionPoint(self.module.body):
                function = func.FuncOp(name, (types, []))
            with ir.InsertionPoint(function.add_entry_block()):
                result = build(*function.arguments).result
                func.ReturnOp([result])
            signature = ir.FunctionType.get(types, [result.type])
            function.attributes["function_type"] = ir.TypeAttr.get(signature)

    def linear(self, name: str, depth: int, channels: int, bits: int, rows: int = ROWS) -> None:
        x = RNG.integers(-127, 128, (1, rows, depth), dtype=np.int8)
        self.add(
            name,
            [x],
            rows * depth * channels,
            lambda x: mfm.IntegerLinearOp(
                x=x,
                weight=self.weight(RNG.integers(-127, 128, (channels, depth), dtype=np.int8)),
                parameters=self.rescale(channels, 42 if bits == 8 else 35),
                result=kind([1, rows, channels], bits),
            ),
        )

    def convolution(self, name: str, length: int, channels: int, stride: int) -> None:
        x = RNG.integers(-127, 128, (1, length, channels), dtype=np.int8)
        weight = RNG.integers(-127, 128, (WIDTH, 3 * channels), dtype=np.int8)
        steps = length // stride
        self.add(
            name,
            [x],
            steps * 3 * channels * WIDTH,
            lambda x: mfm.IntegerConv1dOp(
                x=x,
                weight=self.weight(weight),
                parameters=self.rescale(WIDTH, 35),
                result=kind([1, steps, WIDTH], 16),
                kernel=integer(3),
                stride=integer(stride),
                padding=integer(1),
            ),
        )

    def attention(self, name: str, queries: int, keys: int) -> None:
        depth = WIDTH // HEADS
        sizes = [[1, length, HEADS, depth] for length in (queries, keys, keys)]
        self.add(
            name,
            [RNG.integers(-127, 128, each, dtype=np.int8) for each in sizes],
            2 * queries * keys * WIDTH,
            lambda q, k, v: mfm.IntegerAttentionOp(
                query=q,
                key=k,
                value=v,
                result=kind(sizes[0], 8),
                score_multiplier=integer(1 << 30),
                score_shift=integer(38),
                output_multiplier=integer(1 << 30),
                output_shift=integer(38),
                causal=integer(0),
            ),
        )

    def pointwise(self) -> None:
        wide = RNG.integers(-9999, 9999, (1, ROWS, 4 * WIDTH)).astype(np.int16)
        narrow = wide[..., :WIDTH].copy()
        self.add(
            "gelu",
            [wide],
            0,
            lambda x: mfm.IntegerGeluOp(
                x=x,
                parameters=self.weight(
                    np.stack([np.full(4 * WIDTH, 1 << 30), np.full(4 * WIDTH, 45)]).astype(np.int32)
                ),
                table=self.weight(ramp_table(0.002, "gelu")),
                result=kind(wide.shape, 8),
                index_multiplier=integer(1 << 30),
                index_shift=integer(32),
                offset=integer(-121),
            ),
        )
        self.add(
            "layer_norm",
            [narrow],
            0,
            lambda x: mfm.IntegerLayerNormOp(
                x=x,
                parameters=self.weight(np.full((2, WIDTH), 1 << 15, np.int32)),
                result=kind(narrow.shape, 8),
                epsilon=integer(5),
                shift=integer(26),
            ),
        )
        self.add(
            "add",
            [narrow, narrow],
            0,
            lambda a, b: mfm.IntegerAddOp(
                lhs=a,
                rhs=b,
                result=kind(narrow.shape, 16),
                lhs_multiplier=integer(1 << 30),
                rhs_multiplier=integer(1 << 29),
                shift=integer(31),
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of single operations on IREE")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each operation")
    parser.add_argument("names", nargs="*", metavar="NAME", help="operations, default all")
    options = parser.parse_args()
    bench = Bench()
    bench.linear("linear", WIDTH, WIDTH, 8)
    bench.linear("fc1", WIDTH, 4 * WIDTH, 16)
    bench.linear("fc2", 4 * WIDTH, WIDTH, 16)
    bench.convolution("conv1", 2 * ROWS, 80, 1)
    bench.convolution("conv2", 2 * ROWS, WIDTH, 2)
    bench.attention("attention", ROWS, ROWS)
    bench.attention("cross_attention_step", 1, ROWS)
    bench.linear("logits_step", WIDTH, 51864, 16, rows=1)
    bench.pointwise()
    ConvertMfmToLinalg().run(bench.module, Compilation(parameters=bench.weights))
    executor = IreeExecutor(compile_to_vmfb(bench.module, name="the benchmark"), bench.weights)
    print(f"{'operation':22}{'best ms':>9}{'median':>9}{'CPU ms':>9}{'GMAC/s':>9}")
    for name in options.names or bench.inputs:
        inputs = [executor.to_device(array) for array in bench.inputs[name]]
        walls: list[float] = []
        processors: list[float] = []
        end = time.perf_counter() + options.seconds
        while time.perf_counter() < end:
            wall, processor = time.perf_counter(), time.process_time()
            executor.call(name, *inputs, resident=True)
            processors.append(time.process_time() - processor)
            walls.append(time.perf_counter() - wall)
        rate = f"{bench.macs[name] / min(walls) / 1e9:9.1f}" if bench.macs[name] else " " * 9
        median = float(np.median(walls))
        times = "".join(f"{1e3 * each:9.2f}" for each in (min(walls), median, min(processors)))
        print(f"{name:22}{times}{rate}")


if __name__ == "__main__":
    main()
