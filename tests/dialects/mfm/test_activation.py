"""Gelu: rules, meaning, and the error of the integer form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects.arithmetic import scale_to_multiplier
from girih.dialects.mfm.activation import ramp_depth, ramp_steps, ramp_table

INT16 = np.arange(-32768, 32768).astype(np.int16)
INTEGER = "index_multiplier = 1 : i64, index_shift = {} : i64, offset = {} : i64"


def exact_gelu(x: Any, approximate: str) -> Any:
    tensor = torch.from_numpy(np.asarray(x, np.float64))
    return torch.nn.functional.gelu(tensor, approximate=approximate).numpy()


@pytest.mark.parametrize(
    ("operand", "result", "form", "problem"),
    [
        ("4x8xf16", "4x8xf32", "none", "x has element type f16, expected f32"),
        ("4x8xf32", "8x4xf32", "none", "result has shape [8, 4], expected [4, 8]"),
        ("4xf32", "4xf32", "erf", "approximate is 'erf', expected 'none' or 'tanh'"),
    ],
)
def test_gelu_is_refused(
    operations: Any, operand: str, result: str, form: str, problem: str
) -> None:
    assert operations.problems("gelu", [operand], result, f'approximate = "{form}"') == [problem]


def test_gelu_needs_its_form(operations: Any) -> None:
    assert operations.problems("gelu", ["4xf32"], "4xf32") == ["lacks the attribute approximate"]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), form=st.sampled_from(["none", "tanh"]))
def test_gelu_is_torchs(operations: Any, seed: int, form: str) -> None:
    x = np.random.default_rng(seed).normal(0, 3, (3, 50)).astype(np.float32)
    found = operations.run("gelu", [x], "3x50xf32", f'approximate = "{form}"')
    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate=form).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


OPERANDS = ["4x8xi16", "2x8xi32", "1024xi32"]


def test_integer_gelu_is_accepted(operations: Any) -> None:
    for element, offset in (("i8", -128), ("i16", 127)):
        attributes = INTEGER.format(62, offset)
        assert operations.problems("integer_gelu", OPERANDS, f"4x8x{element}", attributes) == []


@pytest.mark.parametrize(
    ("index", "operand", "problem"),
    [
        (0, "4x8xi8", "x has element type i8, expected i16"),
        (1, "3x8xi32", "parameters has shape [3, 8], expected [2, 8]"),
        (2, "512xi32", "table has shape [512], expected [1024]"),
    ],
)
def test_integer_gelu_is_refused(operations: Any, index: int, operand: str, problem: str) -> None:
    operands = list(OPERANDS)
    operands[index] = operand
    found = operations.problems("integer_gelu", operands, "4x8xi8", INTEGER.format(1, 0))
    assert found == [problem]


@pytest.mark.parametrize(
    ("result", "shift", "problem"),
    [
        ("4x8xi32", 1, "result has element type i32, expected i8 or i16"),
        ("4x9xi8", 1, "result has shape [4, 9], expected [4, 8]"),
        ("4x8xi8", 0, "index_shift is 0, expected 1 to 62"),
        ("4x8xi8", 63, "index_shift is 63, expected 1 to 62"),
    ],
)
def test_integer_gelu_result_and_shift(
    operations: Any, result: str, shift: int, problem: str
) -> None:
    found = operations.problems("integer_gelu", OPERANDS, result, INTEGER.format(shift, 0))
    assert found == [problem]


@pytest.mark.parametrize("offset", [-129, 128])
def test_integer_gelu_with_an_offset_beyond_int8_is_refused(operations: Any, offset: int) -> None:
    found = operations.problems("integer_gelu", OPERANDS, "4x8xi8", INTEGER.format(1, offset))
    assert found == [f"offset is {offset}, expected -128 to 127"]


RAMP = {"none": "gelu", "tanh": "gelu_tanh"}


def integer_gelu(
    operations: Any, scale: float, out: float, form: str, element: str, offset: int = 0
) -> Any:
    """All of int16 through the operation, at an input scale, an output scale and an offset."""
    index_multiplier, index_shift = scale_to_multiplier(ramp_steps(scale) * scale)
    multiplier, shift = scale_to_multiplier(scale / 256 / out)
    x = INT16.reshape(-1, 1)
    parameters = np.array([[multiplier], [shift]], np.int32)
    return operations.run(
        "integer_gelu",
        [x, parameters, ramp_table(scale, RAMP[form])],
        f"65536x1x{element}",
        f"index_multiplier = {index_multiplier} : i64, index_shift = {index_shift} : i64, "
        f"offset = {offset} : i64",
    )[:, 0]


@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize("scale", [1e-7, 2.0**-13, 0.001, 0.0123, 0.3])
def test_integer_gelu_is_as_close_as_promised(operations: Any, scale: float, form: str) -> None:
    """docs/numerics.md: 1 / 4n + s_x / 256 before the last rescale, half a unit in it.

    The tanh form falls off a little slower, hence the larger slack.
    """
    exact = exact_gelu(INT16 * scale, form)
    before_rescale = 1 / (4 * ramp_steps(scale)) + scale / 256
    for element, largest in (("i8", 127), ("i16", 32767)):
        out = float(exact.max()) / largest
        found = integer_gelu(operations, scale, out, form, element)
        error = np.abs(found * out - exact)
        slack = 1.05 if form == "tanh" else 1.0
        assert error.max() <= slack * before_rescale + out / 2 * (1 + 1e-6)


def test_integer_gelu_of_large_inputs_is_the_ramp(operations: Any) -> None:
    """Beyond the table the even part has vanished: nothing is left of negative inputs."""
    found = integer_gelu(operations, 8 / 1000, 8 / 1000, "none", "i16")
    assert not found[INT16 <= -1000].any()
    np.testing.assert_array_equal(found[INT16 >= 1000], INT16[INT16 >= 1000])


def test_integer_gelu_of_zero_is_zero(operations: Any) -> None:
    for scale in (1e-6, 0.01, 3.0):
        assert integer_gelu(operations, scale, scale, "none", "i16")[32768] == 0


@pytest.mark.parametrize("form", ["none", "tanh"])
def test_the_table_fits_for_every_scale(form: str) -> None:
    """Even for an input that calibration saw as all zero, and one of enormous range."""
    with np.errstate(all="raise"):
        for scale in (1e-8 * 1.25 / 32767, 1e-3, 1e3):
            table = ramp_table(scale, RAMP[form])
            assert table.dtype == np.int32
            assert (table <= 0).all()
            assert table[0] == 0
            assert (table[-1] == 0) == (scale > 1e-4)


def test_integer_gelu_has_a_rescale_per_channel(operations: Any) -> None:
    x = np.full((1, 3), 20000, np.int16)
    table = np.zeros(1024, np.int32)
    parameters = np.array([[1, 1, 0], [9, 62, 1]], np.int32)
    found = operations.run("integer_gelu", [x, parameters, table], "1x3xi16", INTEGER.format(1, 0))
    assert found.tolist() == [[10000, 0, 0]]


@pytest.mark.parametrize("offset", [-128, -1, 127])
def test_integer_gelu_adds_its_offset_before_it_saturates(operations: Any, offset: int) -> None:
    """Values that int8 holds only with the offset; the definition, on plain integers."""
    plain = integer_gelu(operations, 0.001, 0.05, "none", "i16").astype(np.int64)
    found = integer_gelu(operations, 0.001, 0.05, "none", "i8", offset)
    np.testing.assert_array_equal(found, np.clip(plain + offset, -128, 127))
    assert plain.max() > 500


@pytest.mark.parametrize(
    ("function", "depth"),
    [
        ("gelu", 0.16997),
        ("gelu_tanh", 0.17004),
        ("hard_swish", 0.375),
        ("quick_gelu", 0.16361),
        ("relu", 0.0),
        ("silu", 0.27846),
    ],
)
def test_the_depth_of_a_ramp_function_is_its_lowest_value(function: str, depth: float) -> None:
    assert ramp_depth(function) == pytest.approx(depth, abs=1e-5)
