"""The quantized product of two tensors: rules, meaning, and IREE's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from girih.dialects import mfm

ATTRIBUTES = "multiplier = {} : i64, shift = {} : i64"
DTYPES = (np.int8, np.int16)


def test_it_is_accepted(operations: Any) -> None:
    for operands in (["4x8xi8", "4x8xi16"], ["8xi16", "4x1xi16"], ["2x4x8xi8", "4x8xi8"]):
        result = "2x4x8xi16" if "2x4" in operands[0] else "4x8xi8"
        text = ATTRIBUTES.format(2**31 - 1, 62)
        assert operations.problems("integer_multiply", operands, result, text) == []


@pytest.mark.parametrize(
    ("operands", "result", "attributes", "problem"),
    [
        (["4xi32", "4xi8"], "4xi8", (1, 1), "lhs has element type i32, expected i8 or i16"),
        (["4xi8", "4xi8"], "4xi32", (1, 1), "result has element type i32, expected i8 or i16"),
        (["4xi8", "3xi8"], "4xi8", (1, 1), "rhs of shape [3] does not broadcast to [4]"),
        (["4xi8", "1xi8"], "2x4xi8", (1, 1), "result has shape [2, 4], expected [4]"),
        (["4xi8", "4xi8"], "4xi8", (1, 63), "shift is 63, expected 1 to 62"),
        (["4xi8", "4xi8"], "4xi8", (-1, 1), "multiplier is -1, expected 0 to 2^31 - 1"),
        (
            ["4xi8", "4xi8"],
            "4xi8",
            (2**31, 1),
            "multiplier is 2147483648, expected 0 to 2^31 - 1",
        ),
    ],
)
def test_it_is_refused(
    operations: Any, operands: list[str], result: str, attributes: tuple[int, int], problem: str
) -> None:
    text = ATTRIBUTES.format(*attributes)
    assert operations.problems("integer_multiply", operands, result, text) == [problem]


def test_it_rounds_half_up_and_saturates(operations: Any) -> None:
    """The largest product there is, 2^30, times the largest multiplier, does not wrap."""
    x = np.array([-32768, 32767, 3, -3, 1], np.int16)
    y = np.array([-32768, -32768, 1, 1, 0], np.int16)
    found = operations.run("integer_multiply", [x, y], "5xi16", ATTRIBUTES.format(1, 1))
    np.testing.assert_array_equal(found, [32767, -32768, 2, -1, 0])
    found = operations.run("integer_multiply", [x, y], "5xi8", ATTRIBUTES.format(2**31 - 1, 55))
    np.testing.assert_array_equal(found, [64, -64, 0, 0, 0])


def test_it_is_close_to_the_product(operations: Any) -> None:
    """docs/numerics.md: half a unit of the result."""
    rng = np.random.default_rng(1)
    x, y = (rng.integers(-32768, 32768, (7, 50), np.int16) for _ in range(2))
    found = operations.run("integer_multiply", [x, y], "7x50xi16", ATTRIBUTES.format(2**30, 45))
    exact = x.astype(np.float64) * y / 2**15
    assert np.abs(found - exact).max() <= 0.5


def test_iree_has_its_bits(tools: Any) -> None:
    rng = np.random.default_rng(2)
    parity = tools.parity()
    shapes = [((3, 5), (3, 5)), ((5,), (3, 5)), ((2, 1, 5), (3, 1)), ((), (4,)), ((1, 7), (1, 7))]
    for number, (left, right) in enumerate(shapes * 2):
        kinds = [DTYPES[number & 1], DTYPES[number >> 1 & 1], DTYPES[number >> 2 & 1]]
        sizes = np.broadcast_shapes(left, right)
        scale = {"multiplier": 2**31 - 1 - number, "shift": (1, 40, 62, 33, 50)[number % 5]}
        parity.add(
            lambda x, y, sizes=sizes, out=kinds[2], scale=scale: mfm.IntegerMultiplyOp(
                lhs=x,
                rhs=y,
                result=tools.tensor_type(sizes, out),
                **{name: tools.integer(value) for name, value in scale.items()},
            ),
            *(
                rng.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, shape, kind)
                if shape
                else np.array(np.iinfo(kind).min, kind)
                for kind, shape in zip(kinds, (left, right), strict=False)
            ),
        )
    parity.check()
