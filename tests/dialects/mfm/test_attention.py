"""Attention: rules, meaning, the error of the integer form, and its fold over groups of keys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from girih.dialects import arithmetic
from girih.dialects.arithmetic import scale_to_multiplier
from girih.dialects.mfm.attention import MAXIMUM_HEAD_DEPTH, MAXIMUM_KEYS

SEEDS = st.integers(0, 2**32 - 1)
FLOAT = "scale = {} : f64, causal = {} : i64"
INTEGER = (
    "score_multiplier = {} : i64, score_shift = {} : i64, "
    "output_multiplier = {} : i64, output_shift = {} : i64, causal = {} : i64"
)
PLAIN = INTEGER.format(2**30, 40, 2**30, 38, 0)
QUERY, KEY, VALUE, RESULT = "2x3x4x8", "2x5x4x8", "2x5x4x6", "2x3x4x6"


@pytest.mark.parametrize(
    "mask", [[], ["3x5xi1"], ["2x1x1x5xi8"], ["2x4x3x5xi1"], ["5xi8"], ["1xi1"]]
)
def test_attention_is_accepted(operations: Any, mask: list[str]) -> None:
    operands = [f"{part}xf32" for part in (QUERY, KEY, VALUE)] + mask
    for causal in (0, 1):
        text = FLOAT.format(0.5, causal)
        assert operations.problems("attention", operands, f"{RESULT}xf32", text) == []
    operands = [f"{part}xi8" for part in (QUERY, KEY, VALUE)] + mask
    assert operations.problems("integer_attention", operands, f"{RESULT}xi8", PLAIN) == []


REFUSED = [
    ((QUERY, KEY, "2x5x8"), RESULT, [], "value has rank 3, expected 4"),
    (("3x4x8", KEY, VALUE), RESULT, [], "query has rank 3, expected 4"),
    ((QUERY, "2x5x4x7", VALUE), RESULT, [], "key has shape [2, 5, 4, 7], expected [2, 5, 4, 8]"),
    ((QUERY, "2x5x2x8", VALUE), RESULT, [], "value has shape [2, 5, 4, 6], expected [2, 5, 2, 6]"),
    ((QUERY, KEY, "2x6x4x6"), RESULT, [], "value has shape [2, 6, 4, 6], expected [2, 5, 4, 6]"),
    ((QUERY, KEY, VALUE), "2x3x4x8", [], "result has shape [2, 3, 4, 8], expected [2, 3, 4, 6]"),
    (
        (QUERY, KEY, VALUE),
        RESULT,
        ["3x4xi1"],
        "mask of shape [3, 4] does not broadcast to [2, 4, 3, 5]",
    ),
]


@pytest.mark.parametrize(("parts", "result", "mask", "problem"), REFUSED)
def test_attention_is_refused(
    operations: Any, parts: tuple[str, ...], result: str, mask: list[str], problem: str
) -> None:
    operands = [f"{part}xf32" for part in parts] + mask
    text = FLOAT.format(0.5, 0)
    assert operations.problems("attention", operands, f"{result}xf32", text) == [problem]
    operands = [f"{part}xi8" for part in parts] + mask
    assert operations.problems("integer_attention", operands, f"{result}xi8", PLAIN) == [problem]


def test_attention_refuses_other_elements(operations: Any) -> None:
    sizes = ["1x2x3x4xf32"] * 2 + ["1x2x3x4xi8"]
    assert operations.problems("attention", sizes, "1x2x3x4xf32", FLOAT.format(1.0, 0)) == [
        "value has element type i8, expected f32"
    ]
    sizes = ["1x2x3x4xi16"] + ["1x2x3x4xi8"] * 2
    assert operations.problems("integer_attention", sizes, "1x2x3x4xi16", PLAIN) == [
        "query has element type i16, expected i8",
        "result has element type i16, expected i8",
    ]


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ((1, 0, 1, 1, 0), "score_shift is 0, expected 1 to 62"),
        ((1, 1, 1, 63, 0), "output_shift is 63, expected 1 to 62"),
    ],
)
def test_integer_attention_bounds_its_shifts(
    operations: Any, attributes: tuple[int, ...], problem: str
) -> None:
    text = INTEGER.format(*attributes)
    found = operations.problems("integer_attention", ["1x2x3x4xi8"] * 3, "1x2x3x4xi8", text)
    assert found == [problem]


def test_integer_attention_bounds_its_sums(operations: Any) -> None:
    keys = MAXIMUM_KEYS + 1
    operands = ["1x1x1x4xi8", f"1x{keys}x1x4xi8", f"1x{keys}x1x4xi8"]
    assert operations.problems("integer_attention", operands, "1x1x1x4xi8", PLAIN) == [
        f"attends to {keys} keys, expected at most {MAXIMUM_KEYS} to fit int32"
    ]
    depth = MAXIMUM_HEAD_DEPTH + 1
    operands = [f"1x1x1x{depth}xi8"] * 2 + ["1x1x1x4xi8"]
    assert operations.problems("integer_attention", operands, "1x1x1x4xi8", PLAIN) == [
        f"has head depth {depth}, expected at most {MAXIMUM_HEAD_DEPTH} to fit int32"
    ]


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, queries=st.integers(1, 12), keys=st.integers(1, 40), how=st.integers(0, 2))
def test_attention_is_torchs(operations: Any, seed: int, queries: int, keys: int, how: int) -> None:
    """Plain, causal with as many keys as queries, and masked with every row seeing a key."""
    rng = np.random.default_rng(seed)
    keys = queries if how == 1 else keys
    query = rng.standard_normal((2, queries, 3, 8), np.float32)
    key = rng.standard_normal((2, keys, 3, 8), np.float32)
    value = rng.standard_normal((2, keys, 3, 5), np.float32)
    mask = []
    if how == 2:
        mask = [rng.random((2, 1, queries, keys)) < 0.5]
        mask[0][..., rng.integers(keys)] = True
    inputs = [query, key, value, *mask]
    text = FLOAT.format(0.3, int(how == 1))
    found = operations.run("attention", inputs, f"2x{queries}x3x5xf32", text)
    parts = [torch.from_numpy(part).transpose(1, 2) for part in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *parts,
        attn_mask=torch.from_numpy(mask[0]) if mask else None,
        is_causal=how == 1,
        scale=0.3,
    )
    np.testing.assert_allclose(found, expected.transpose(1, 2).numpy(), rtol=1e-5, atol=1e-5)


def test_heads_share_keys_and_an_added_mask_biases_scores(operations: Any) -> None:
    rng = np.random.default_rng(0)
    query, key, value = (
        rng.standard_normal((2, length, heads, 8), np.float32)
        for length, heads in ((5, 6), (7, 2), (7, 2))
    )
    bias = rng.standard_normal((2, 6, 5, 7), np.float32)
    bias[..., 3] = -np.inf
    found = operations.run(
        "attention", [query, key, value, bias], "2x5x6x8xf32", FLOAT.format(0.3, 0)
    )
    parts = [torch.from_numpy(part).transpose(1, 2) for part in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *parts, attn_mask=torch.from_numpy(bias), scale=0.3, enable_gqa=True
    )
    np.testing.assert_allclose(found, expected.transpose(1, 2).numpy(), rtol=1e-5, atol=1e-5)


def test_causality_counts_from_the_last_key(operations: Any) -> None:
    """With cached keys before the queries, the last query sees all; the first sees Lk - Lq + 1."""
    value = np.eye(5, dtype=np.float32).reshape(1, 5, 1, 5)
    zeros = np.zeros((1, 5, 1, 4), np.float32)
    inputs = [zeros[:, :2], zeros, value]
    found = operations.run("attention", inputs, "1x2x1x5xf32", FLOAT.format(1.0, 1))
    np.testing.assert_allclose(found[0, :, 0], [[0.25] * 4 + [0], [0.2] * 5], rtol=1e-6)


@pytest.mark.parametrize("kind", ["float", "integer"])
def test_a_query_that_sees_nothing_gives_zero(operations: Any, kind: str) -> None:
    """By its mask, and by causality where there are more queries than keys."""
    for mask, causal, hidden in (
        ([np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], np.int8)], 0, [0, 2]),
        ([], 1, [0]),
    ):
        shape = (1, 4, 1, 6)
        dtype = np.float32 if kind == "float" else np.int8
        query, key, value = (
            np.full(shape, 3, dtype),
            np.full(shape, 2, dtype),
            np.ones(shape, dtype),
        )
        inputs = [query, key[:, :3], value[:, :3] * 50, *mask]
        name = "attention" if kind == "float" else "integer_attention"
        text = (
            FLOAT.format(1.0, causal)
            if kind == "float"
            else (INTEGER.format(2**30, 34, 2**30, 38, causal))
        )
        with np.errstate(divide="raise", invalid="raise"):
            found = operations.run(
                name, inputs, "1x4x1x6xf32" if kind == "float" else "1x4x1x6xi8", text
            )
        for row in range(4):
            expected = 0 if row in hidden else 50
            np.testing.assert_allclose(found[0, row], expected, rtol=1e-6)


class Problem:
    """Quantized attention on random data with its float counterpart."""

    def __init__(self, seed: int, queries: int, keys: int, spread: float) -> None:
        rng = np.random.default_rng(seed)
        self.scale = 32**-0.5
        shapes = [(1, queries, 2, 32), (1, keys, 2, 32), (1, keys, 2, 16)]
        floats = [rng.standard_normal(shape) for shape in shapes]
        floats[0] *= spread
        self.scales = [float(np.abs(part).max()) / 127 for part in floats]
        self.inputs = [
            np.rint(part / scale).astype(np.int8)
            for part, scale in zip(floats, self.scales, strict=True)
        ]
        self.result = f"1x{queries}x2x16xi8"
        real = [part * scale for part, scale in zip(self.inputs, self.scales, strict=True)]
        query, key, self.value = (part.swapaxes(1, 2) for part in real)
        self.scores = np.matmul(query, key.swapaxes(2, 3)) * self.scale
        weights = np.exp(self.scores - self.scores.max(axis=-1, keepdims=True))
        self.weights = weights
        self.exact = np.matmul(weights / weights.sum(axis=-1, keepdims=True), self.value)
        self.out = float(np.abs(self.exact).max()) / 127
        log2 = self.scales[0] * self.scales[1] * self.scale * math.log2(math.e) * 256
        self.score = scale_to_multiplier(log2)
        multiplier, shift = scale_to_multiplier(self.scales[2] / self.out)
        self.output = multiplier, shift + 8

    def run(self, operations: Any) -> Any:
        text = INTEGER.format(*self.score, *self.output, 0)
        found = operations.run("integer_attention", self.inputs, self.result, text)
        return found.swapaxes(1, 2)


@settings(max_examples=25, deadline=None)
@given(
    seed=SEEDS,
    keys=st.sampled_from([1, 2, 7, 50, 400, 1500]),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_integer_attention_is_within_its_bound(
    operations: Any, seed: int, keys: int, spread: float
) -> None:
    """docs/numerics.md: each weight is off by half of 1/255 and 0.55% of itself.

    Sums are rounded to 1/255 once more for each group of keys.
    """
    problem = Problem(seed, 5, keys, spread)
    found = problem.run(operations) * problem.out
    off = 0.5 / 255 + 0.0055 * problem.weights
    total = problem.weights.sum(axis=-1, keepdims=True)
    spread_of_values = np.abs(problem.value[:, :, None] - problem.exact[:, :, :, None])
    rounding = 0.5 / 255 * -(-keys // 64)
    moved = (off[..., None] * spread_of_values).sum(axis=3)
    moved += rounding * (problem.scales[2] + np.abs(problem.exact))
    moved /= total - off.sum(-1, keepdims=True) - rounding
    bound = np.where(moved > 0, moved, np.inf) + problem.out * (0.5 + 2.0**-8)
    assert (np.abs(found - problem.exact) <= bound).all()


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("keys", [16, 448, 1500])
def test_integer_attention_is_close_in_practice(operations: Any, keys: int, spread: float) -> None:
    """At the lengths of speech: about a unit of the output, and 28 dB below the signal."""
    problem = Problem(keys, 40, keys, spread)
    error = problem.run(operations) * problem.out - problem.exact
    noise = (error**2).mean()
    assert np.sqrt(noise) < 1.1 * problem.out
    assert 10 * np.log10((problem.exact**2).mean() / noise) > 28


def by_hand(problem: Problem, group: int) -> Any:
    """The page's steps with groups of some size, one row and one number at a time."""
    query, key, value = (part[0].swapaxes(0, 1).astype(object) for part in problem.inputs)
    multiplier, shift = problem.score
    result = np.zeros((*query.shape[:2], value.shape[2]), np.int64)
    for head, row in np.ndindex(*query.shape[:2]):
        dots = key[head] @ query[head, row]
        scores = [(dot * multiplier + (1 << (shift - 1))) >> shift for dot in dots]
        scores = [max(-32768, min(32767, score)) for score in scores]
        top, total, sums = -32768, 0, [0] * value.shape[2]
        for first in range(0, len(scores), group):
            own = scores[first : first + group]
            before, top = top, max(top, *own)
            exponent = min((top - before) >> 8, 32)
            factor = round(2 ** (30 - ((top - before) & 255) / 256))
            factor = (factor + ((1 << exponent) >> 1)) >> exponent
            weights = [int(arithmetic.exponential(np.array(top - each))) for each in own]
            weights = [w if t > -32768 else 0 for w, t in zip(weights, own, strict=True)]
            total = ((total * factor + (1 << 29)) >> 30) + sum(weights)
            for column in range(len(sums)):
                new = sum(
                    w * v
                    for w, v in zip(
                        weights, value[head, first : first + group, column], strict=True
                    )
                )
                sums[column] = ((sums[column] * factor + (1 << 29)) >> 30) + new
        result[head, row] = arithmetic.normalize(np.array(sums), np.array(total), *problem.output)
    return result[None]


@settings(max_examples=10, deadline=None)
@given(
    seed=SEEDS,
    keys=st.sampled_from([1, 63, 64, 65, 128, 129, 200]),
    spread=st.sampled_from([0.1, 2.0, 9.0]),
)
def test_groups_of_64_keys_are_folded_in_order(
    operations: Any, seed: int, keys: int, spread: float
) -> None:
    problem = Problem(seed, 3, keys, spread)
    np.testing.assert_array_equal(problem.run(operations), by_hand(problem, 64))


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("keys", [448, 1500])
def test_the_fold_costs_no_accuracy(operations: Any, keys: int, spread: float) -> None:
    """One group for the whole row is the form that knows the row's maximum from the start."""
    problem = Problem(keys, 8, keys, spread)
    folded, known = (
        np.sqrt(((found * problem.out - problem.exact) ** 2).mean())
        for found in (problem.run(operations), by_hand(problem, keys))
    )
    assert folded < 1.02 * known


def noise(rng: np.random.Generator, like: Any, length: int) -> Any:
    """Keys or values of another length."""
    return rng.integers(-128, 128, (1, length, *like.shape[2:])).astype(np.int8)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, keys=st.integers(1, 150), groups=st.integers(1, 3))
def test_hidden_groups_change_nothing(operations: Any, seed: int, keys: int, groups: int) -> None:
    """So that a tiler may skip them: before all keys, and after the last."""
    problem = Problem(seed, 4, keys, 2.0)
    rng = np.random.default_rng(seed)
    expected = problem.run(operations).swapaxes(1, 2)
    query, key, value = problem.inputs
    more = groups * 64
    for before in (0, more):
        after = more - before + (-keys) % 64
        padded = [
            np.concatenate([noise(rng, part, before), part, noise(rng, part, after)], axis=1)
            for part in (key, value)
        ]
        mask = np.zeros((1, before + keys + after), np.int8)
        mask[0, before : before + keys] = 1
        text = INTEGER.format(*problem.score, *problem.output, 0)
        found = operations.run("integer_attention", [query, *padded, mask], problem.result, text)
        np.testing.assert_array_equal(found, expected)


def test_integer_attention_of_extremes(operations: Any) -> None:
    """Every operand at int8's ends: scores saturate, and all weight is on the equal keys."""
    query = np.full((1, 1, 1, 64), -128, np.int8)
    key = np.full((1, 300, 1, 64), 127, np.int8)
    key[0, 100:200] = -128
    value = np.full((1, 300, 1, 2), 127, np.int8)
    value[0, 100:200] = -128
    text = INTEGER.format(2**31 - 1, 30, 2**30, 38, 0)
    found = operations.run("integer_attention", [query, key, value], "1x1x1x2xi8", text)
    assert found.tolist() == [[[[-128, -128]]]]
    # Where every score saturates at the bottom, no key is left: like hidden ones.
    key[0, 100:200] = 127
    found = operations.run("integer_attention", [query, key, value], "1x1x1x2xi8", text)
    assert not found.any()


def test_integer_attention_weighs_equal_keys_equally(operations: Any) -> None:
    """A row of as many keys as int32 holds, all of weight 255 and value -128."""
    query = np.zeros((1, 1, 1, 1), np.int8)
    key = np.zeros((1, MAXIMUM_KEYS, 1, 1), np.int8)
    value = np.full((1, MAXIMUM_KEYS, 1, 1), -128, np.int8)
    found = operations.run("integer_attention", [query, key, value], "1x1x1x1xi8", PLAIN)
    assert found.item() == -128
