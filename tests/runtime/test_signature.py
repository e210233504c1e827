"""The door of an entry point: shapes, dtypes, and integers behind float values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from girih.runtime.errors import InputError
from girih.runtime.signature import Signature, TensorSpec

FLOAT = TensorSpec("x", (2, 3), "float32", "float32")
QUANTIZED = TensorSpec("x", (4,), "float32", "int8", scale=0.5)
TOKENS = TensorSpec("tokens", (2,), "int64", "int64")
CACHE = TensorSpec("cache", (4,), "float32", "int8", scale=0.5, state="cache")


def test_float_values_are_taken_from_torch_and_numpy() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for value in (values, torch.from_numpy(values), torch.from_numpy(values).requires_grad_()):
        np.testing.assert_array_equal(FLOAT.store(value), values)
    assert FLOAT.store(values.astype(np.float64)).dtype == np.float32


def test_what_is_not_contiguous_becomes_so() -> None:
    stored = FLOAT.store(np.zeros((3, 2), np.float32).T)
    assert stored.flags.c_contiguous


@pytest.mark.parametrize(
    ("spec", "value", "sentence"),
    [
        (
            FLOAT,
            np.zeros((3, 2), np.float32),
            r"argument 'x' has shape \[3, 2\], expected \[2, 3\]",
        ),
        (
            FLOAT,
            np.zeros((2, 3), np.complex64),
            "argument 'x' has dtype complex64, expected float32",
        ),
        (TOKENS, np.zeros(2), "argument 'tokens' has dtype float64, expected int64"),
        (TOKENS, 3, r"argument 'tokens' has shape \[\], expected \[2\]"),
    ],
)
def test_other_values_are_refused(spec: TensorSpec, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        spec.store(value)


def test_narrower_integers_are_widened() -> None:
    stored = TOKENS.store(np.array([1, 2], np.int32))
    assert stored.dtype == np.int64


def test_quantized_arguments_are_rounded_half_to_even_and_clamped() -> None:
    stored = QUANTIZED.store(np.array([0.25, 0.75, 1000, np.nan], np.float32))
    assert stored.dtype == np.int8
    assert stored.tolist() == [0, 2, 127, 0]


def test_stored_integers_pass_as_they_are() -> None:
    """So that one device's results can be another's arguments, bit for bit."""
    values = np.array([-128, 0, 1, 127], np.int8)
    np.testing.assert_array_equal(QUANTIZED.store(values), values)


def test_there_and_back() -> None:
    values = np.array([-3.0, 0.5, 0.0, 63.5], np.float32)
    np.testing.assert_array_equal(QUANTIZED.restore(QUANTIZED.store(values)), values)
    assert QUANTIZED.restore(np.array([1], np.int8)).dtype == np.float32
    same = np.array([3])
    assert TOKENS.restore(same) is same


def test_states_are_arguments_only_where_asked() -> None:
    signature = Signature((TOKENS, CACHE), (QUANTIZED, CACHE))
    tokens, cache = np.zeros(2, np.int64), np.ones(4, np.int8)
    assert len(signature.store([tokens], states=False)) == 1
    assert len(signature.store([tokens, cache], states=True)) == 2
    with pytest.raises(InputError, match="found 2 arguments, expected 1: tokens"):
        signature.store([tokens, cache], states=False)
    with pytest.raises(InputError, match="found 1 arguments, expected 2: tokens, cache"):
        signature.store([tokens], states=True)


def test_results_as_floats_or_as_integers() -> None:
    signature = Signature((), (QUANTIZED, CACHE))
    values = [np.array([2] * 4, np.int8), np.array([4] * 4, np.int8)]
    floats = signature.restore(values, states=True, integers=False)
    assert [array.tolist() for array in floats] == [[1.0] * 4, [2.0] * 4]
    integers = signature.restore(values[:1], states=False, integers=True)
    assert integers[0] is values[0]
