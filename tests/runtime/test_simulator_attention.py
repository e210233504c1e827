"""The opcodes of attention and of movement against plain Python integers, per kernel set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meaning import (
    Array,
    clamp,
    columns_strategy,
    correction,
    each,
    gaps,
    multipliers,
    power,
    random_values,
    rescale,
    rows_strategy,
    seeds,
    several,
    shift_round,
    shifts,
)

from girih.runtime.program import (
    DType,
    Opcode,
    Operand,
    RescaleFlag,
    ScoresFlag,
    Space,
    TransferFlag,
)
from girih.runtime.simulator import Machine, available_kernels

pytestmark = [
    pytest.mark.simulator,
    pytest.mark.parametrize("kernels", available_kernels()),
]


def products(test: Any, seed: int, rows: int, columns: int, gap: int) -> tuple[Operand, Array]:
    """Values of many sizes in the accumulator."""
    generator = np.random.default_rng(seed)
    depth = int(generator.choice([1, 8, 200]))
    repeat = int(generator.choice([1, 3, 700]))
    a = generator.integers(-128, 128, (rows, depth), dtype=np.int8)
    b = generator.integers(-128, 128, (depth, columns), dtype=np.int8)
    return test.product(a, b, repeat, gap)


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    multiplier=multipliers,
    shift=shifts,
    mask=st.sampled_from(["none", "full", "one row"]),
    causal=st.one_of(
        st.none(), st.tuples(st.integers(-5, 300), st.integers(-5, 300)), st.just((0, 0))
    ),
)
def test_scores(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    multiplier: int,
    shift: int,
    mask: str,
    causal: tuple[int, int] | None,
) -> None:
    test = bench(kernels)
    source, values = products(test, seed, rows, columns, gap)
    expected = each(lambda v: rescale(v, multiplier, shift, DType.I16), values)
    flags = ScoresFlag(0)
    fields: dict[str, Any] = {}
    immediates = (multiplier, shift)
    shown = np.random.default_rng(seed).integers(-1, 2, (rows, columns)).astype(np.int8)
    if mask == "one row":
        shown[:] = shown[0]
        operand = test.put(shown[:1])
        fields["d"] = Operand(operand.space, operand.base, DType.I8)
    elif mask == "full":
        fields["d"] = test.put(shown, gap)
    if mask != "none":
        flags |= ScoresFlag.MASKED
        expected[shown == 0] = -32768
    if causal is not None:
        flags |= ScoresFlag.CAUSAL
        immediates += causal
        for i in range(rows):
            for j in range(columns):
                if causal[1] + j > causal[0] + i:
                    expected[i, j] = -32768
    before = random_values(seed + 5, (rows, 2), DType.I16)
    maximum = test.put(before, 3)
    largest = np.maximum(expected.max(axis=1, keepdims=True), before[:, :1].astype(object))
    out = test.room(rows, columns, DType.I16, gap)
    seen = test.room(rows, 2, DType.I16)
    test.do(
        Opcode.SCORES,
        rows=rows,
        columns=columns,
        a=source,
        b=out,
        c=maximum,
        flags=flags,
        immediates=immediates,
        **fields,
    )
    copy = {"flags": RescaleFlag.SCALAR, "immediates": (0, 2, 1)}
    test.do(Opcode.RESCALE, rows=rows, columns=2, a=maximum, b=seen, **copy)
    found, found_largest = test.run()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_largest, np.hstack([largest, before[:, :1]]))


@several
@given(seed=seeds, rows=rows_strategy, columns=columns_strategy, gap=gaps, near=st.booleans())
def test_exponential(
    kernels: str, bench: Any, seed: int, rows: int, columns: int, gap: int, near: bool
) -> None:
    test = bench(kernels)
    generator = np.random.default_rng(seed)
    scores = random_values(seed, (rows, columns), DType.I16)
    largest = scores.max(axis=1, keepdims=True)
    if near:  # where the result is not zero
        scores = np.maximum(largest - generator.integers(0, 2600, scores.shape), -32768)
        scores = scores.astype(np.int16)
        largest = scores.max(axis=1, keepdims=True)
    if seed % 5 == 0:  # a maximum that is below some scores
        largest = (largest // 2).astype(np.int16)
    before = random_values(seed + 7, (rows, 1), DType.I16)
    if seed % 3 == 0:  # it rose a little
        before = np.maximum(largest.astype(int) - generator.integers(0, 3000, (rows, 1)), -32768)
        before = before.astype(np.int16)
    test.do(
        Opcode.EXPONENTIAL,
        rows=rows,
        columns=columns,
        a=test.put(scores, gap),
        b=test.room(rows, columns, DType.U8, gap),
        c=test.put(np.hstack([largest, before]), 2),
        d=test.room(rows, 2, DType.I32, 1),
    )
    expected = each(power, scores, largest)
    factor = each(lambda top, last: correction(max(top - last, 0)), largest, before)
    sums = np.hstack([expected.sum(axis=1, keepdims=True), factor])
    found, found_sums = test.run()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_sums, sums)


@several
@given(seed=seeds, rows=rows_strategy, columns=columns_strategy, gap=gaps, wild=st.booleans())
def test_fold(
    kernels: str, bench: Any, seed: int, rows: int, columns: int, gap: int, wild: bool
) -> None:
    """Also of factors that no exponential yields, and of sums that no longer fit."""
    test = bench(kernels)
    source, values = products(test, seed, rows, columns, gap)
    generator = np.random.default_rng(seed)
    state = random_values(seed, (rows, columns + 1), DType.I32)
    factors = random_values(seed + 1, (rows, 1), DType.I32)
    if not wild:
        distance = generator.integers(0, 4000, (rows, 1)) * generator.integers(0, 2, (rows, 1))
        factors = each(correction, distance).astype(np.int32)
    totals = random_values(seed + 2, (rows, 1), DType.I32)
    place = test.put(state)
    test.watch(place, rows, columns + 1)
    test.do(
        Opcode.FOLD,
        rows=rows,
        columns=columns,
        a=source,
        b=place,
        c=test.put(np.hstack([totals, factors]), 1),
    )
    added = np.hstack([values, totals]).astype(object)

    def meaning(old: int, factor: int, new: int) -> int:
        total = shift_round(old * factor, 30) + new
        return (total + (1 << 31)) % (1 << 32) - (1 << 31)

    expected = each(meaning, state, factors, added)
    np.testing.assert_array_equal(test.run()[0], expected)


def test_exponential_of_every_distance(kernels: str, bench: Any) -> None:
    test = bench(kernels)
    scores = np.arange(-32768, 32768, dtype=np.int16).reshape(1, -1)
    out = test.room(1, 65536, DType.U8)
    operands = {
        "a": test.put(scores),
        "b": out,
        "c": test.put(np.array([[32767, 0]], np.int16)),
        "d": test.room(1, 2, DType.I32),
    }
    test.do(Opcode.EXPONENTIAL, rows=1, columns=65536, **operands)
    np.testing.assert_array_equal(test.run()[0], each(lambda score: power(score, 32767), scores))


def test_correction_of_every_distance(kernels: str, bench: Any) -> None:
    """A row for each distance of two maxima."""
    test = bench(kernels)
    distances = np.concatenate([np.arange(9000), np.arange(9000, 65536, 61), [65535]])
    maxima = np.stack([distances - 32768, np.full(len(distances), -32768)], axis=1)
    rows = len(distances)
    sums = test.room(rows, 2, DType.I32)
    test.do(
        Opcode.EXPONENTIAL,
        rows=rows,
        columns=1,
        a=test.put(np.full((rows, 1), -32768, np.int16)),
        b=test.room(rows, 1, DType.U8),
        c=test.put(maxima.astype(np.int16)),
        d=sums,
    )
    np.testing.assert_array_equal(test.run()[0][:, 1], each(correction, distances))


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    multiplier=multipliers,
    shift=shifts,
    tiny=st.booleans(),
    parked=st.booleans(),
)
def test_normalize(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    multiplier: int,
    shift: int,
    tiny: bool,
    parked: bool,
) -> None:
    test = bench(kernels)
    source, values = products(test, seed, rows, columns, gap)
    if parked:
        source = test.put(values, gap)
    generator = np.random.default_rng(seed)
    sums = generator.integers(0, 3 if tiny else 1 << 24, (rows, 1)).astype(np.int32)
    if seed % 7 == 0:
        sums[0] = -5
    test.do(
        Opcode.NORMALIZE,
        rows=rows,
        columns=columns,
        a=source,
        b=test.room(rows, columns, DType.I8, gap),
        c=test.put(sums, 1),
        immediates=(multiplier, shift),
    )

    def meaning(value: int, total: int) -> int:
        if total <= 0:
            return 0
        product = value * ((multiplier << 8) // total) + (1 << (shift - 1))
        wrapped = (product + (1 << 63)) % (1 << 64) - (1 << 63)
        return clamp(wrapped >> shift, DType.I8)

    np.testing.assert_array_equal(test.run()[0], each(meaning, values, sums))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(DType.I8, -128), (DType.U8, 255), (DType.I16, -2), (DType.I32, -(1 << 31)), (DType.I32, 77)],
)
def test_fill(kernels: str, bench: Any, dtype: DType, value: int) -> None:
    test = bench(kernels)
    out = test.room(3, 21, dtype, 5)
    test.do(Opcode.FILL, rows=3, columns=21, a=out, immediates=(value,))
    np.testing.assert_array_equal(test.run()[0], np.full((3, 21), value))


def test_transfers_with_pitch_overlap_and_loops(kernels: str, bench: Any) -> None:
    """Rows of a convolution: each overlaps the last in DRAM, in a ring of two slots on chip."""
    test = bench(kernels)
    data = np.arange(97, dtype=np.uint8)
    test.dram[:0] = data.tobytes()
    out = len(data) + 31
    test.dram.extend(bytes(31 + 12 * 8))
    ring = Operand(
        Space.SCRATCHPAD, 64, pitch=8, slots=2, slot_bytes=32, ring=(1, 0, 0, 0), phase=1
    )
    test.do(Opcode.LOOP, rows=4)
    test.do(
        Opcode.DMA_IN,
        rows=3,
        columns=8,
        a=Operand(Space.DRAM, 1, pitch=5, stride=(15, 0, 0, 0)),
        b=ring,
    )
    test.do(
        Opcode.DMA_OUT,
        rows=3,
        columns=8,
        a=ring,
        b=Operand(Space.DRAM, out, pitch=8, stride=(24, 0, 0, 0)),
    )
    test.do(Opcode.END)
    program = test.program()
    machine = Machine(test.target, dram_bytes=program.dram_bytes, kernels=kernels)
    machine.write_dram(0, test.dram)
    machine.run(program)
    expected = np.stack([data[1 + 5 * row : 9 + 5 * row] for row in range(12)])
    np.testing.assert_array_equal(machine.read_array(out, (12, 8), np.uint8), expected)


def test_indexed_transfers(kernels: str, bench: Any) -> None:
    test = bench(kernels)
    table = np.arange(40, dtype=np.uint8).reshape(10, 4)
    test.dram.extend(table.tobytes())
    indices = np.array([7, 0, 9], np.int32)
    test.dram.extend(indices.tobytes())
    out = test.room(3, 4, DType.U8)
    test.do(Opcode.LOOP, rows=3)
    test.do(
        Opcode.DMA_IN,
        rows=1,
        columns=4,
        flags=TransferFlag.INDEXED,
        a=Operand(Space.DRAM, 0),
        b=Operand(Space.SCRATCHPAD, out.base, stride=(4, 0, 0, 0)),
        c=Operand(Space.DRAM, 40, DType.I32, stride=(4, 0, 0, 0)),
        immediates=(4, 10),
    )
    test.do(Opcode.END)
    np.testing.assert_array_equal(test.run()[0], table[indices])
