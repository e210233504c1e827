"""Products, rescales and row-wise opcodes against plain Python integers, per kernel set."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meaning import (
    Array,
    clamp,
    columns_strategy,
    each,
    gaps,
    multipliers,
    random_parameters,
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
    MatmulFlag,
    Opcode,
    Operand,
    RescaleFlag,
    Space,
)
from girih.runtime.simulator import available_kernels

pytestmark = [
    pytest.mark.simulator,
    pytest.mark.parametrize("kernels", available_kernels()),
]


@several
@given(
    seed=seeds,
    rows=st.one_of(st.integers(1, 20), st.just(70)),
    columns=columns_strategy,
    depth=st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 130, 511, 513])),
    gap=gaps,
    transposed=st.booleans(),
    unsigned=st.booleans(),
    times=st.integers(1, 3),
    stationary=st.booleans(),
)
def test_matmul(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    depth: int,
    gap: int,
    transposed: bool,
    unsigned: bool,
    times: int,
    stationary: bool,
) -> None:
    test = bench(kernels)
    a = random_values(seed, (rows, depth), DType.U8 if unsigned else DType.I8)
    b = random_values(seed + 2, (depth, columns), DType.I8)
    left = test.put(a, gap)
    right = test.put(b.T if transposed else b, gap)
    pitch = (columns + gap) * 4
    if rows * pitch > test.target.accumulator_bytes:
        pitch = columns * 4
    accumulator = Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=pitch)
    flags = MatmulFlag.B_TRANSPOSED if transposed else MatmulFlag(0)
    flags |= MatmulFlag.OUTPUT_STATIONARY if stationary else MatmulFlag(0)
    for time in range(times):
        test.do(
            Opcode.MATMUL,
            rows=rows,
            columns=columns,
            depth=depth,
            a=left,
            b=right,
            c=accumulator,
            flags=flags | (MatmulFlag.ACCUMULATE if time else MatmulFlag(0)),
        )
    # The accumulator is seen through rescales of its low and high half.
    expected = a.astype(np.int64) @ b.astype(np.int64) * times
    outputs: list[Array] = []
    for shift in (1, 16):
        out = test.room(rows, columns, DType.I16)
        multiplier = 2 if shift == 1 else 1
        test.do(
            Opcode.RESCALE,
            rows=rows,
            columns=columns,
            a=accumulator,
            b=out,
            flags=RescaleFlag.SCALAR,
            immediates=(0, multiplier, shift),
        )
        outputs.append(each(lambda v, m=multiplier, s=shift: rescale(v, m, s, DType.I16), expected))
    for found, wanted in zip(test.run(), outputs, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_matmul_sums_are_modulo_2_32(kernels: str, bench: Any) -> None:
    test = bench(kernels)
    a = np.full((2, 4096), -128, np.int8)
    b = np.full((4096, 5), -128, np.int8)
    accumulator, expected = test.product(a, b, 40)
    assert expected[0, 0] == 40 * 4096 * 128 * 128 - (1 << 32)
    out = test.room(2, 5, DType.I16)
    scalar = RescaleFlag.SCALAR
    test.do(
        Opcode.RESCALE, rows=2, columns=5, a=accumulator, b=out, flags=scalar, immediates=(0, 1, 17)
    )
    np.testing.assert_array_equal(
        test.run()[0], each(lambda v: rescale(v, 1, 17, DType.I16), expected)
    )


def test_matmul_large_products_use_threads(kernels: str, bench: Any) -> None:
    test = bench(kernels)
    generator = np.random.default_rng(5)
    a = generator.integers(-128, 128, (131, 700), dtype=np.int8)
    b = generator.integers(-128, 128, (230, 700), dtype=np.int8)
    left, right = test.put(a), test.put(b)
    accumulator = Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=230 * 4)
    test.do(
        Opcode.MATMUL,
        rows=131,
        columns=230,
        depth=700,
        a=left,
        b=right,
        c=accumulator,
        flags=MatmulFlag.B_TRANSPOSED,
    )
    out = test.room(131, 230, DType.I16)
    test.do(
        Opcode.RESCALE,
        rows=131,
        columns=230,
        a=accumulator,
        b=out,
        flags=RescaleFlag.SCALAR,
        immediates=(0, 1, 7),
    )
    wide = a.astype(np.int64) @ b.T.astype(np.int64)
    np.testing.assert_array_equal(test.run()[0], np.clip((wide + 64) >> 7, -32768, 32767))


def test_matmul_sees_weights_that_were_written_again(kernels: str, bench: Any) -> None:
    """The packed form of b is kept only as long as b is what it was."""
    test = bench(kernels)
    generator = np.random.default_rng(6)
    a = generator.integers(-128, 128, (8, 32), dtype=np.int8)
    first, second = generator.integers(-128, 128, (2, 32, 24), dtype=np.int8)
    left, right, other = test.put(a), test.put(first), test.put(second)
    accumulator = Operand(Space.ACCUMULATOR, 0, DType.I32, pitch=96)
    expected: list[Array] = []
    for weights in (first, first, second):
        if weights is second:
            test.do(
                Opcode.RESCALE,
                rows=32,
                columns=24,
                a=other,
                b=right,
                flags=RescaleFlag.SCALAR,
                immediates=(0, 1 << 30, 30),
            )
        test.do(Opcode.MATMUL, rows=8, columns=24, depth=32, a=left, b=right, c=accumulator)
        out = test.room(8, 24, DType.I16)
        test.do(
            Opcode.RESCALE,
            rows=8,
            columns=24,
            a=accumulator,
            b=out,
            flags=RescaleFlag.SCALAR,
            immediates=(0, 1, 5),
        )
        wide = a.astype(np.int64) @ weights.astype(np.int64)
        expected.append(np.clip((wide + 16) >> 5, -32768, 32767))
    for found, wanted in zip(test.run(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    source=st.sampled_from([DType.I8, DType.I16, DType.I32]),
    target=st.sampled_from([DType.I8, DType.I16]),
)
def test_rescale_per_column(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    source: DType,
    target: DType,
) -> None:
    test = bench(kernels)
    values = random_values(seed, (rows, columns), source)
    bias = random_values(seed + 3, (columns,), DType.I32)
    multiplier, shift = random_parameters(seed, columns)
    out = test.room(rows, columns, target, gap)
    test.do(
        Opcode.RESCALE,
        rows=rows,
        columns=columns,
        a=test.put(values, gap),
        b=out,
        c=test.put(np.stack([bias, multiplier, shift]), gap),
    )

    def meaning(value: int, b: int, m: int, s: int) -> int:
        return rescale(clamp(value + b, DType.I32), m, s, target)

    np.testing.assert_array_equal(test.run()[0], each(meaning, values, bias, multiplier, shift))


@several
@given(seed=seeds, rows=rows_strategy, columns=columns_strategy, gap=gaps)
def test_rescale_per_row(
    kernels: str, bench: Any, seed: int, rows: int, columns: int, gap: int
) -> None:
    test = bench(kernels)
    values = random_values(seed, (rows, columns), DType.I8)
    bias = random_values(seed + 3, (rows,), DType.I32)
    multiplier, shift = random_parameters(seed, rows)
    test.do(
        Opcode.RESCALE,
        rows=rows,
        columns=columns,
        flags=RescaleFlag.PER_ROW,
        a=test.put(values, gap),
        b=test.room(rows, columns, DType.I16, gap),
        c=test.put(np.stack([bias, multiplier, shift], axis=1), gap),
    )

    def meaning(value: int, b: int, m: int, s: int) -> int:
        return rescale(clamp(value + b, DType.I32), m, s, DType.I16)

    parameters = (bias[:, None], multiplier[:, None], shift[:, None])
    np.testing.assert_array_equal(test.run()[0], each(meaning, values, *parameters))


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    bias=st.integers(-(1 << 31), (1 << 31) - 1),
    multiplier=multipliers,
    shift=shifts,
    dtype=st.sampled_from([DType.I8, DType.I16]),
)
def test_rescale_scalar_in_place(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    bias: int,
    multiplier: int,
    shift: int,
    dtype: DType,
) -> None:
    test = bench(kernels)
    values = random_values(seed, (rows, columns), dtype)
    place = test.put(values)
    test.watch(place, rows, columns)
    test.do(
        Opcode.RESCALE,
        rows=rows,
        columns=columns,
        a=place,
        b=place,
        flags=RescaleFlag.SCALAR,
        immediates=(bias, multiplier, shift),
    )

    def meaning(value: int) -> int:
        return rescale(clamp(value + bias, DType.I32), multiplier, shift, dtype)

    np.testing.assert_array_equal(test.run()[0], each(meaning, values))


@pytest.mark.parametrize("shift", [1, 2, 15, 16, 30, 31, 32, 33, 34, 61, 62])
@pytest.mark.parametrize("multiplier", [0, 1, 3, 1 << 15, (1 << 30) - 1, 1 << 30, (1 << 31) - 1])
def test_rescale_at_the_edges(kernels: str, bench: Any, shift: int, multiplier: int) -> None:
    near = [0, 1, 2, 127, 128, 32767, 32768, 1 << 20, (1 << 30) - 1, 1 << 30, (1 << 31) - 1]
    values = np.array([near + [-v for v in near] + [-(1 << 31)]], np.int64).astype(np.int32)
    test = bench(kernels)
    source = test.put(values)
    for dtype in (DType.I8, DType.I16):
        test.do(
            Opcode.RESCALE,
            rows=1,
            columns=values.shape[1],
            a=source,
            b=test.room(1, values.shape[1], dtype),
            flags=RescaleFlag.SCALAR,
            immediates=(0, multiplier, shift),
        )
    narrow, wide = test.run()
    np.testing.assert_array_equal(
        narrow, each(lambda v: rescale(v, multiplier, shift, DType.I8), values)
    )
    np.testing.assert_array_equal(
        wide, each(lambda v: rescale(v, multiplier, shift, DType.I16), values)
    )


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    dtypes=st.tuples(*[st.sampled_from([DType.I8, DType.I16])] * 3),
    multiplier_a=multipliers,
    multiplier_b=multipliers,
    shift=shifts,
)
def test_add(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    dtypes: tuple[DType, DType, DType],
    multiplier_a: int,
    multiplier_b: int,
    shift: int,
) -> None:
    test = bench(kernels)
    a = random_values(seed, (rows, columns), dtypes[0])
    b = random_values(seed + 1, (rows, columns), dtypes[1])
    test.do(
        Opcode.ADD,
        rows=rows,
        columns=columns,
        a=test.put(a, gap),
        b=test.put(b),
        c=test.room(rows, columns, dtypes[2], gap),
        immediates=(multiplier_a, multiplier_b, shift),
    )

    def meaning(left: int, right: int) -> int:
        return clamp(shift_round(left * multiplier_a + right * multiplier_b, shift), dtypes[2])

    np.testing.assert_array_equal(test.run()[0], each(meaning, a, b))


def test_add_of_one_row_to_all(kernels: str, bench: Any) -> None:
    a = random_values(7, (5, 300), DType.I16)
    b = random_values(6, (1, 300), DType.I8)
    test = bench(kernels)
    row = test.put(b)
    test.do(
        Opcode.ADD,
        rows=5,
        columns=300,
        a=test.put(a),
        b=Operand(row.space, row.base, row.dtype),
        c=test.room(5, 300, DType.I16),
        immediates=(3, 5, 2),
    )
    expected = each(lambda v, w: clamp(shift_round(v * 3 + w * 5, 2), DType.I16), a, b)
    np.testing.assert_array_equal(test.run()[0], expected)


def test_add_to_either_source_in_place(kernels: str, bench: Any) -> None:
    a = random_values(7, (5, 300), DType.I16)
    b = random_values(6, (5, 300), DType.I16)
    expected = each(lambda v, w: clamp(shift_round(v * 3 + w * 5, 2), DType.I16), a, b)
    for place in (0, 1):
        test = bench(kernels)
        operands = [test.put(a), test.put(b)]
        test.watch(operands[place], 5, 300)
        test.do(
            Opcode.ADD,
            rows=5,
            columns=300,
            a=operands[0],
            b=operands[1],
            c=operands[place],
            immediates=(3, 5, 2),
        )
        np.testing.assert_array_equal(test.run()[0], expected)


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    dtype=st.sampled_from([DType.I8, DType.I16]),
    index_multiplier=multipliers,
    index_shift=shifts,
    offset=st.integers(-128, 127),
)
def test_gelu(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    dtype: DType,
    index_multiplier: int,
    index_shift: int,
    offset: int,
) -> None:
    test = bench(kernels)
    x = random_values(seed, (rows, columns), DType.I16)
    multiplier, shift = random_parameters(seed, columns)
    table = np.random.default_rng(seed).integers(-(1 << 24), 1, (1, 1024)).astype(np.int32)
    test.do(
        Opcode.GELU,
        rows=rows,
        columns=columns,
        a=test.put(x, gap),
        b=test.room(rows, columns, dtype, gap),
        c=test.put(np.stack([multiplier, shift]), gap),
        d=test.put(table),
        immediates=(index_multiplier, index_shift, offset),
    )

    def meaning(value: int, m: int, s: int) -> int:
        place = min(shift_round(abs(value) * index_multiplier, index_shift), 1023)
        wide = (max(value, 0) << 8) + int(table[0, place])
        return clamp(shift_round(wide * m, s) + offset, dtype)

    np.testing.assert_array_equal(test.run()[0], each(meaning, x, multiplier, shift))


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    dtype=st.sampled_from([DType.I8, DType.I16]),
    epsilon=st.one_of(st.integers(1, 1000), st.integers(1, (1 << 42) - 1)),
    shift=shifts,
    in_place=st.booleans(),
    constant=st.booleans(),
)
def test_layer_norm(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    dtype: DType,
    epsilon: int,
    shift: int,
    in_place: bool,
    constant: bool,
) -> None:
    test = bench(kernels)
    x = random_values(seed, (rows, columns), DType.I16)
    if constant:
        x[0] = x[0, 0]
    gain = random_values(seed + 1, (columns,), DType.I32)
    offset = random_values(seed + 2, (columns,), DType.I32)
    source = test.put(x, 0 if in_place else gap)
    if in_place:
        dtype, out = DType.I16, source
        test.watch(out, rows, columns)
    else:
        out = test.room(rows, columns, dtype, gap)
    test.do(
        Opcode.LAYER_NORM,
        rows=rows,
        columns=columns,
        a=source,
        b=out,
        c=test.put(np.stack([gain, offset])),
        immediates=(epsilon, shift),
    )
    expected = np.empty((rows, columns), object)
    for i, row in enumerate(x.tolist()):
        mean = (2 * 16 * sum(row) + columns) // (2 * columns)
        centred = [16 * value - mean for value in row]
        variance = sum(c * c for c in centred) // columns + epsilon
        reciprocal = (1 << 42) // isqrt(variance << 20)
        for j, c in enumerate(centred):
            normalized = (c * reciprocal + (1 << 15)) >> 16
            assert abs(normalized) < 1 << 24
            scaled = normalized * int(gain[j]) + (int(offset[j]) << 8)
            expected[i, j] = clamp(shift_round(scaled, shift), dtype)
    np.testing.assert_array_equal(test.run()[0], expected)
