"""What gated, RMS-normalized decoders add, against plain Python integers, per kernel set."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meaning import (
    clamp,
    columns_strategy,
    each,
    gaps,
    multipliers,
    random_values,
    rescale,
    rows_strategy,
    seeds,
    several,
    shift_round,
    shifts,
)

from girih.runtime.program import DType, LayerNormFlag, Opcode, Operand
from girih.runtime.simulator import available_kernels

pytestmark = [
    pytest.mark.simulator,
    pytest.mark.parametrize("kernels", available_kernels()),
]


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    dtypes=st.tuples(*[st.sampled_from([DType.I8, DType.I16])] * 3),
    multiplier=multipliers,
    shift=shifts,
    one_row=st.booleans(),
)
def test_multiply(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    dtypes: tuple[DType, DType, DType],
    multiplier: int,
    shift: int,
    one_row: bool,
) -> None:
    test = bench(kernels)
    a = random_values(seed, (rows, columns), dtypes[0])
    b = random_values(seed + 1, (1 if one_row else rows, columns), dtypes[1])
    right = test.put(b)
    if one_row:
        right = Operand(right.space, right.base, right.dtype)
    test.do(
        Opcode.MULTIPLY,
        rows=rows,
        columns=columns,
        a=test.put(a, gap),
        b=right,
        c=test.room(rows, columns, dtypes[2], gap),
        immediates=(multiplier, shift),
    )

    def meaning(left: int, right: int) -> int:
        return rescale(left * right, multiplier, shift, dtypes[2])

    np.testing.assert_array_equal(test.run()[0], each(meaning, a, b))


def test_multiply_into_either_source(kernels: str, bench: Any) -> None:
    a = random_values(7, (5, 300), DType.I16)
    b = random_values(6, (5, 300), DType.I16)
    expected = each(lambda v, w: rescale(v * w, 1 << 30, 45, DType.I16), a, b)
    for place in (0, 1):
        test = bench(kernels)
        operands = [test.put(a), test.put(b)]
        test.watch(operands[place], 5, 300)
        test.do(
            Opcode.MULTIPLY,
            rows=5,
            columns=300,
            a=operands[0],
            b=operands[1],
            c=operands[place],
            immediates=(1 << 30, 45),
        )
        np.testing.assert_array_equal(test.run()[0], expected)


@several
@given(
    seed=seeds,
    rows=rows_strategy,
    columns=columns_strategy,
    gap=gaps,
    dtype=st.sampled_from([DType.I8, DType.I16]),
    epsilon=st.one_of(st.integers(1, 1000), st.integers(1, (1 << 42) - 1)),
    shift=shifts,
)
def test_uncentered_norm(
    kernels: str,
    bench: Any,
    seed: int,
    rows: int,
    columns: int,
    gap: int,
    dtype: DType,
    epsilon: int,
    shift: int,
) -> None:
    test = bench(kernels)
    x = random_values(seed, (rows, columns), DType.I16)
    gain = random_values(seed + 1, (1, columns), DType.I32)
    test.do(
        Opcode.LAYER_NORM,
        rows=rows,
        columns=columns,
        flags=LayerNormFlag.UNCENTERED,
        a=test.put(x, gap),
        b=test.room(rows, columns, dtype, gap),
        c=test.put(gain),
        immediates=(epsilon, shift),
    )
    expected = np.empty((rows, columns), object)
    for i, row in enumerate(x.tolist()):
        variance = sum((16 * value) ** 2 for value in row) // columns + epsilon
        reciprocal = (1 << 42) // isqrt(variance << 20)
        for j, value in enumerate(row):
            normalized = (16 * value * reciprocal + (1 << 15)) >> 16
            assert abs(normalized) <= 1 << 24
            expected[i, j] = clamp(shift_round(normalized * int(gain[0, j]), shift), dtype)
    np.testing.assert_array_equal(test.run()[0], expected)
