"""How fast the simulator's core is: matrix products beside oneDNN's, vector instructions, timing.

    python benchmarks/simulator_core.py [--threads N] [--kernels NAME ...]

Each line repeats one instruction in a loop of one program, so that everything that a real run pays
(checks of range, initialization and order included) is in the number.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from girih.runtime.program import (
    DType,
    Instruction,
    MatmulFlag,
    Opcode,
    Operand,
    Program,
    RescaleFlag,
    Space,
)
from girih.runtime.simulator import Machine, available_kernels
from girih.runtime.target import Target

SHAPES = (
    # rows, columns, depth, what
    (512, 512, 1536, "large"),
    (256, 384, 384, "encoder projection tile"),
    (128, 64, 1500, "attention p x v tile"),
    (128, 1500, 64, "attention q x k tile"),
    (32, 64, 256, "small"),
    (1, 384, 384, "decoder step"),
)
ROWS, COLUMNS = 64, 1500
DRAM_BYTES = 1 << 24


def scratchpad(address: int, dtype: DType, pitch: int = 0) -> Operand:
    return Operand(Space.SCRATCHPAD, address, dtype, pitch=pitch)


def seconds(
    machine: Machine, body: list[Instruction], setup: list[Instruction], work: int
) -> float:
    """Seconds per execution of the body, as the difference of a long and a short loop."""
    count = max(2, min(20_000, 300_000_000 // work))

    def run(iterations: int) -> float:
        loop = [Instruction(Opcode.LOOP, rows=iterations), *body, Instruction(Opcode.END)]
        program = machine.load(
            Program.for_target(machine.target, [*setup, *loop], machine.dram_bytes)
        )
        best = float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            machine.run(program)
            best = min(best, time.perf_counter() - begin)
        return best

    return (run(count + 1) - run(1)) / count


def bring(address: int, source: int, bytes: int) -> Instruction:
    return Instruction(
        Opcode.DMA_IN,
        rows=1,
        columns=bytes,
        a=Operand(Space.DRAM, source),
        b=Operand(Space.SCRATCHPAD, address),
    )


def matmul_gmacs(
    machine: Machine, rows: int, columns: int, depth: int, transposed: bool, repack: bool
) -> float:
    weights = (rows * depth + 63) // 64 * 64
    setup = [bring(0, 0, rows * depth), bring(weights, 0, columns * depth)]
    flags = MatmulFlag.B_TRANSPOSED if transposed else MatmulFlag(0)
    product = Instruction(
        Opcode.MATMUL,
        rows=rows,
        columns=columns,
        depth=depth,
        flags=flags,
        a=scratchpad(0, DType.I8, depth),
        b=scratchpad(weights, DType.I8, depth if transposed else columns),
        c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=columns * 4),
        wait=(0, 0xFFFF, 0xFFFF, 0xFFFF),
    )
    body = [product]
    if repack:  # new weights each time
        move = bring(weights, 0, columns * depth)
        body = [
            Instruction(
                move.opcode, 1, move.columns, a=move.a, b=move.b, wait=(0xFFFF, 0xFFFF, 0, 0xFFFF)
            ),
            product,
        ]
    macs = rows * columns * depth
    return macs / seconds(machine, body, setup, macs // 100) / 1e9


def onednn_gmacs(rows: int, columns: int, depth: int) -> float:
    """The same product by oneDNN, through torch, on as many threads as torch has."""
    lhs = torch.randint(-128, 128, (rows, depth), dtype=torch.int8)
    rhs = torch.randint(-128, 128, (columns, depth), dtype=torch.int8).T
    count = max(2, min(20_000, 3_000_000_000 // (rows * columns * depth)))
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(count):
            torch.ops.aten._int_mm(lhs, rhs)
        best = min(best, time.perf_counter() - begin)
    return rows * columns * depth * count / best / 1e9


def vector_instructions() -> list[tuple[str, Instruction]]:
    wide = 0
    narrow = 1 << 20
    parameters = 1 << 21
    statistics = 1 << 22
    accumulator = Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=COLUMNS * 4)
    i16 = scratchpad(wide, DType.I16, COLUMNS * 2)
    i8 = scratchpad(narrow, DType.I8, COLUMNS)
    per_column = scratchpad(parameters, DType.I32, COLUMNS * 4)
    table = scratchpad(parameters + (1 << 16), DType.I32)
    row_maximum = scratchpad(statistics, DType.I16, 4)
    row_sum = scratchpad(statistics + 4096, DType.I32, 4)
    row_pair = scratchpad(statistics + 4096, DType.I32, 8)
    m = (1 << 30) + 12345
    size = {"rows": ROWS, "columns": COLUMNS, "wait": (0, 0xFFFF, 0, 0xFFFF)}

    def make(opcode: Opcode, **fields: object) -> Instruction:
        return Instruction(opcode, **{**size, **fields})  # pyright: ignore[reportArgumentType]

    return [
        ("fill", make(Opcode.FILL, a=i16)),
        ("rescale to i16, per column", make(Opcode.RESCALE, a=accumulator, b=i16, c=per_column)),
        (
            "rescale to i8, scalar, shift 30",
            make(
                Opcode.RESCALE, a=accumulator, b=i8, flags=RescaleFlag.SCALAR, immediates=(5, m, 30)
            ),
        ),
        ("add i16", make(Opcode.ADD, a=i16, b=i16, c=i16, immediates=(m, m, 31))),
        ("multiply i16", make(Opcode.MULTIPLY, a=i16, b=i16, c=i16, immediates=(m, 46))),
        ("gelu", make(Opcode.GELU, a=i16, b=i8, c=per_column, d=table, immediates=(m, 35))),
        ("layer_norm", make(Opcode.LAYER_NORM, a=i16, b=i8, c=per_column, immediates=(5, 30))),
        ("scores", make(Opcode.SCORES, a=accumulator, b=i16, c=row_maximum, immediates=(m, 35))),
        (
            "scores, shift 30",
            make(Opcode.SCORES, a=accumulator, b=i16, c=row_maximum, immediates=(m, 30)),
        ),
        (
            "exponential",
            make(
                Opcode.EXPONENTIAL,
                a=i16,
                b=scratchpad(narrow, DType.U8, COLUMNS),
                c=row_maximum,
                d=row_pair,
            ),
        ),
        ("normalize", make(Opcode.NORMALIZE, a=accumulator, b=i8, c=row_sum, immediates=(m, 37))),
    ]


def vector_setup() -> list[Instruction]:
    """Data everywhere that the vector instructions read, and a product in the accumulator."""
    product = Instruction(
        Opcode.MATMUL,
        rows=ROWS,
        columns=COLUMNS,
        depth=64,
        a=scratchpad(0, DType.I8, 64),
        b=scratchpad(8192, DType.I8, COLUMNS),
        c=Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=COLUMNS * 4),
        wait=(0, 0xFFFF, 0xFFFF, 0xFFFF),
    )
    return [
        bring(0, 0, 1 << 20),
        bring(1 << 21, 1 << 22, COLUMNS * 12),
        bring((1 << 21) + (1 << 16), 1 << 21, 4096),
        bring(1 << 22, 0, 8192),
        product,
    ]


def timing_rate(machine: Machine) -> float:
    """Instructions per millisecond without data."""
    body = vector_setup()
    loop = [Instruction(Opcode.LOOP, rows=100_000), *body, Instruction(Opcode.END)]
    program = machine.load(Program.for_target(machine.target, loop, machine.dram_bytes))
    begin = time.perf_counter()
    machine.run(program, functional=False)
    return 100_000 * len(body) / (time.perf_counter() - begin) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--kernels", nargs="*", default=list(available_kernels()))
    options = parser.parse_args()
    target = Target.load("cloud")
    generator = np.random.default_rng(0)
    for kernels in options.kernels:
        machine = Machine(target, dram_bytes=DRAM_BYTES, kernels=kernels, threads=options.threads)
        data = generator.integers(-128, 128, DRAM_BYTES, dtype=np.int8)
        machine.write_dram(0, data)
        parameters = np.empty((3, COLUMNS), np.int32)
        parameters[0] = (1 << 30) + generator.integers(0, 1 << 30, COLUMNS)
        parameters[1] = 35
        parameters[2] = 35
        # gelu and layer_norm read the first two rows, rescale all three: bias, multiplier, shift.
        rescale_parameters = np.stack([parameters[1], parameters[0], parameters[1]])
        torch.set_num_threads(machine.threads)
        print(f"--- {kernels}, {machine.threads} threads")
        print(
            f"{'GMAC/s':<44}{'b transposed':>14}{'plain':>10}{'new weights':>13}"
            f"{'oneDNN':>10}{'ratio':>8}"
        )
        for rows, columns, depth, what in SHAPES:
            numbers = [
                matmul_gmacs(machine, rows, columns, depth, transposed, repack)
                for transposed, repack in ((True, False), (False, False), (True, True))
            ]
            label = f"  {what} {rows} x {columns} x {depth}"
            other = onednn_gmacs(rows, columns, depth)
            print(
                f"{label:<44}{numbers[0]:>14.0f}{numbers[1]:>10.0f}{numbers[2]:>13.0f}"
                f"{other:>10.0f}{numbers[0] / other:>8.2f}"
            )
        print(f"{'ns per element':<44}")
        for name, instruction in vector_instructions():
            scale = name.startswith(("rescale",))
            machine.write_dram(1 << 22, rescale_parameters if scale else parameters)
            elapsed = seconds(machine, [instruction], vector_setup(), ROWS * COLUMNS)
            print(f"  {name:<42}{elapsed / (ROWS * COLUMNS) * 1e9:>14.3f}")
        print(f"{'timing alone, instructions per ms':<44}{timing_rate(machine):>14.0f}")
        paged = Machine(Target.load("cloud@ddr4-3200"), dram_bytes=DRAM_BYTES)
        print(f"{'  with DRAM pages':<44}{timing_rate(paged):>14.0f}")


if __name__ == "__main__":
    main()
