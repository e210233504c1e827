"""The quantized product of two activations: rules, meaning, and IREE's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from girih.dialects import mfm

ATTRIBUTES = "multiplier = {} : i64, shift = {} : i64, transposed = {} : i64"


def test_it_is_accepted(operations: Any) -> None:
    cases = [
        (["4x8xi8", "8x5xi8"], "4x5xi16", 0),
        (["4x8xi8", "5x8xi8"], "4x5xi8", 1),
        (["2x3x4x8xi8", "2x3x8x5xi8"], "2x3x4x5xi8", 0),
    ]
    for operands, result, transposed in cases:
        text = ATTRIBUTES.format(2**31 - 1, 62, transposed)
        assert operations.problems("integer_matmul", operands, result, text) == []


@pytest.mark.parametrize(
    ("operands", "result", "attributes", "problem"),
    [
        (["4x8xi16", "8x5xi8"], "4x5xi8", (1, 1, 0), "lhs has element type i16, expected i8"),
        (["4x8xi8", "8x5xi8"], "4x5xi8", (1, 1, 1), None),
        (["4x8xi8", "7x5xi8"], "4x5xi8", (1, 1, 0), "rhs has shape [7, 5], expected [8, 5]"),
        (["2x4x8xi8", "8x5xi8"], "2x4x5xi8", (1, 1, 0), None),
        (["4x8xi8", "8x5xi8"], "4x6xi8", (1, 1, 0), "result has shape [4, 6], expected [4, 5]"),
        (["4x8xi8", "8x5xi8"], "4x5xi8", (1, 0, 0), "shift is 0, expected 1 to 62"),
        (["4x8xi8", "8x5xi8"], "4x5xi8", (-1, 1, 0), "multiplier is -1, expected 0 to 2^31 - 1"),
        (["8xi8", "8x5xi8"], "5xi8", (1, 1, 0), "lhs has rank 1, expected at least 2"),
        (
            ["1x65536xi8", "65536x1xi8"],
            "1x1xi8",
            (1, 1, 0),
            "sums 65536 products, expected fewer than 65536",
        ),
    ],
)
def test_it_is_refused(
    operations: Any,
    operands: list[str],
    result: str,
    attributes: tuple[int, int, int],
    problem: str | None,
) -> None:
    text = ATTRIBUTES.format(*attributes)
    found = operations.problems("integer_matmul", operands, result, text)
    assert found == [problem] if problem else found


def test_it_is_the_product(operations: Any) -> None:
    rng = np.random.default_rng(1)
    lhs, rhs = (rng.integers(-128, 128, (3, 6, 6), np.int8) for _ in range(2))
    wide = lhs.astype(np.int64), rhs.astype(np.int64)
    for transposed in (0, 1):
        text = ATTRIBUTES.format(1, 1, transposed)
        found = operations.run("integer_matmul", [lhs, rhs], "3x6x6xi16", text)
        right = wide[1].swapaxes(1, 2) if transposed else wide[1]
        exact = np.clip((wide[0] @ right + 1) >> 1, -32768, 32767)
        np.testing.assert_array_equal(found, exact)


def test_iree_has_its_bits(tools: Any) -> None:
    rng = np.random.default_rng(2)
    parity = tools.parity()
    cases = [
        ((), 3, 5, 7),
        ((2,), 1, 33, 4),
        ((2, 3), 17, 16, 9),
        ((1, 1), 1, 1, 1),
        ((5,), 8, 3, 1),
    ]
    for number, (batch, rows, depth, columns) in enumerate(cases * 2):
        transposed = number % 2
        out = (np.int8, np.int16)[number // 2 % 2]
        inner = (columns, depth) if transposed else (depth, columns)
        parity.add(
            lambda x, y, sizes=(*batch, rows, columns), out=out, transposed=transposed: (
                mfm.IntegerMatmulOp(
                    lhs=x,
                    rhs=y,
                    result=tools.tensor_type(sizes, out),
                    multiplier=tools.integer(2**30 + 12345),
                    shift=tools.integer(37),
                    transposed=tools.integer(transposed),
                )
            ),
            rng.integers(-128, 128, (*batch, rows, depth), np.int8),
            rng.integers(-128, 128, (*batch, *inner), np.int8),
        )
    parity.check()
