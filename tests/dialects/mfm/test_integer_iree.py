"""The integer operations compiled by IREE have the bits of their `reference()`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_mlir import ir

from girih.dialects import arithmetic, mfm
from girih.dialects.mfm.activation import ramp_table

Generator = np.random.Generator

SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CASES = 8


def pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options (which need not be numbers, as `choice` wants them)."""
    return options[int(rng.integers(len(options)))]


def draw(rng: Generator, dtype: Any, *sizes: int) -> Any:
    """Random integers of the whole range, with the extremes more often than chance has them."""
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, sizes, dtype=dtype, endpoint=True)
    extreme = rng.choice([limits.min, limits.max, 0], sizes).astype(dtype)
    return np.where(rng.random(sizes) < rng.choice([0.05, 0.9]), extreme, values)


def rescale_parameters(rng: Generator, channels: int, magnitude: int) -> Any:
    """Bias, multiplier, shift: from saturating to vanishing, with shifts of 1 and of 62."""
    bits = rng.integers(max(magnitude - 9, 1), magnitude + 3, channels)
    shift = np.clip(30 + bits - 7, 1, 62)
    shift[rng.random(channels) < 0.1] = 1
    shift[rng.random(channels) < 0.1] = 62
    multiplier = rng.integers(1 << 30, 1 << 31, channels)
    multiplier[rng.random(channels) < 0.1] = 0
    bias = rng.integers(-(1 << 30), 1 << 30, channels) >> rng.integers(0, 30, channels)
    return np.stack([bias, multiplier, shift]).astype(np.int32)


def size(rng: Generator, largest: int) -> int:
    return int(pick(rng, [1, 2, 3, 16, rng.integers(1, largest + 1)]))


@QUICK
@given(seed=SEEDS)
def test_linear(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for case in range(CASES):
        rows = [1] if case == 0 else [size(rng, 40) for _ in range(rng.integers(1, 3))]
        depth, channels = size(rng, 200), size(rng, 70)
        out = pick(rng, [np.int8, np.int16])
        parity.add(
            lambda x, w, p, rows=rows, channels=channels, out=out: mfm.IntegerLinearOp(
                x=x, weight=w, parameters=p, result=tools.tensor_type([*rows, channels], out)
            ),
            draw(rng, np.int8, *rows, depth),
            draw(rng, np.int8, channels, depth),
            rescale_parameters(rng, channels, 14 + depth.bit_length()),
        )
    parity.check()


@QUICK
@given(seed=SEEDS)
def test_conv1d(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for _ in range(CASES):
        batch, channels, outputs = int(rng.integers(1, 3)), size(rng, 40), size(rng, 40)
        kernel, stride, padding = (int(rng.integers(low, 5)) for low in (1, 1, 0))
        length = kernel + size(rng, 30)
        steps = (length + 2 * padding - kernel) // stride + 1
        sizes, out = [batch, steps, outputs], pick(rng, [np.int8, np.int16])
        window = {
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
        }
        parity.add(
            lambda x, w, p, sizes=sizes, out=out, window=window: mfm.IntegerConv1dOp(
                x=x,
                weight=w,
                parameters=p,
                result=tools.tensor_type(sizes, out),
                **{name: tools.integer(value) for name, value in window.items()},
            ),
            draw(rng, np.int8, batch, length, channels),
            draw(rng, np.int8, outputs, kernel * channels),
            rescale_parameters(rng, outputs, 14 + (kernel * channels).bit_length()),
        )
    parity.check()


@QUICK
@given(seed=SEEDS)
def test_elementwise(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    shapes = [((3, 5), (3, 5)), ((2, 1, 7), (4, 1)), ((7,), (2, 3, 7)), ((), (2, 2)), ((1,), (1,))]
    for lhs, rhs in shapes:
        a, b, out = (pick(rng, [np.int8, np.int16]) for _ in range(3))
        sizes = np.broadcast_shapes(lhs, rhs)
        shift = int(pick(rng, [1, 62, rng.integers(20, 40)]))
        scales = [int(v) for v in rng.integers(0, 1 << 31, 2)]
        parity.add(
            lambda x, y, sizes=sizes, out=out, scales=scales, shift=shift: mfm.IntegerAddOp(
                lhs=x,
                rhs=y,
                result=tools.tensor_type(sizes, out),
                lhs_multiplier=tools.integer(scales[0]),
                rhs_multiplier=tools.integer(scales[1]),
                shift=tools.integer(shift),
            ),
            draw(rng, a, *lhs),
            draw(rng, b, *rhs),
        )
        parity.add(
            lambda x, rhs=rhs, out=out, scales=scales, shift=shift: mfm.RescaleOp(
                x=x,
                result=tools.tensor_type(rhs, out),
                multiplier=tools.integer(scales[0]),
                shift=tools.integer(shift),
            ),
            draw(rng, a, *rhs),
        )
    parity.check()


@QUICK
@given(seed=SEEDS)
def test_gelu_with_an_offset(tools: Any, seed: int) -> None:
    """On tables of anything, results of either width, at either end of the offset and inside."""
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for case in range(CASES):
        sizes = [size(rng, 20), 384 if case == 0 else size(rng, 300)]
        out = pick(rng, [np.int8, np.int16])
        offset = int(pick(rng, [-128, 127, rng.integers(-128, 128)]))
        shift = int(pick(rng, [1, 62, 31, 40]))
        parity.add(
            lambda x, p, t, sizes=sizes, out=out, z=offset, s=shift: mfm.IntegerGeluOp(
                x=x,
                parameters=p,
                table=t,
                result=tools.tensor_type(sizes, out),
                index_multiplier=tools.integer(1 << 30),
                index_shift=tools.integer(s),
                offset=tools.integer(z),
            ),
            draw(rng, np.int16, *sizes),
            rescale_parameters(rng, sizes[-1], 16)[1:],
            rng.integers(-(1 << 24), 1, 1024).astype(np.int32),
        )
    parity.check()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(tools: Any, approximate: str) -> None:
    rng = np.random.default_rng(len(approximate))
    parity = tools.parity()
    # Every int16 value, in units from a thousandth to two.
    everything = np.arange(-(1 << 15), 1 << 15, dtype=np.int64).astype(np.int16)
    for scale, shape in ((0.001, (2048, 32)), (0.05, (65536, 1)), (2.0, (2, 1024, 32))):
        parity.add(
            lambda x, p, t, shape=shape, scale=scale: mfm.IntegerGeluOp(
                x=x,
                parameters=p,
                table=t,
                result=tools.tensor_type(shape, np.int8),
                index_multiplier=tools.integer(min(round(128 * scale * 2**31), (1 << 40))),
                index_shift=tools.integer(31),
                offset=tools.integer(0),
            ),
            everything.reshape(shape),
            rescale_parameters(rng, shape[-1], 24)[1:],
            ramp_table(scale, "gelu" if approximate == "none" else "gelu_tanh"),
        )
    parity.check()


@QUICK
@given(seed=SEEDS)
def test_layer_norm(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for case in range(CASES):
        sizes = [size(rng, 20), 384 if case == 0 else size(rng, 300)]
        out = pick(rng, [np.int8, np.int16])
        x = draw(rng, np.int16, *sizes)
        x[0] = rng.choice([-32768, 32767, 0])  # a constant row
        gamma = rng.integers(-(1 << 24), 1 << 24, sizes[1]) >> rng.integers(0, 20)
        beta = rng.integers(-(1 << 30), 1 << 30, sizes[1]) >> rng.integers(0, 20)
        epsilon = int(rng.choice([1, 7, (1 << 40) - 1]))
        shift = int(rng.choice([1, 62, 24, 30]))
        parity.add(
            lambda x, p, sizes=sizes, out=out, e=epsilon, s=shift: mfm.IntegerLayerNormOp(
                x=x,
                parameters=p,
                result=tools.tensor_type(sizes, out),
                epsilon=tools.integer(e),
                shift=tools.integer(s),
            ),
            x,
            np.stack([gamma, beta]).astype(np.int32),
        )
    parity.check()


def test_widest_layer_norm(tools: Any) -> None:
    """The most channels, all at the lowest value but one: sums at the edge of int32."""
    parity = tools.parity()
    x = np.full((2, 65536), -32768, np.int16)
    x[1, 0] = 32767
    parity.add(
        lambda x, p: mfm.IntegerLayerNormOp(
            x=x,
            parameters=p,
            result=tools.tensor_type([2, 65536], np.int16),
            epsilon=tools.integer(1),
            shift=tools.integer(24),
        ),
        x,
        np.ones((2, 65536), np.int32) * 1000,
    )
    parity.check()


def add_attention(parity: Any, tools: Any, rng: Generator, sizes: dict[str, int], **how: Any):
    batch, queries, keys, heads, depth, out = (sizes[name] for name in "bqkhde")
    shapes = (
        [batch, queries, heads, depth],
        [batch, keys, heads, depth],
        [batch, keys, heads, out],
    )
    magnitude = 14 + depth.bit_length()
    score_shift = int(rng.choice([30 + magnitude - 11, 30 + magnitude - 14, 62, 20]))
    output_shift = int(rng.choice([38, 40, 62, 20]))
    score, output = (int(value) for value in rng.integers(1 << 30, 1 << 31, 2))
    operands = [draw(rng, np.int8, *shape) for shape in shapes]
    mask = how.get("mask")
    if mask is not None:
        operands.append(mask)

    def build(q: ir.Value, k: ir.Value, v: ir.Value, *m: ir.Value) -> Any:
        return mfm.IntegerAttentionOp(
            query=q,
            key=k,
            value=v,
            result=tools.tensor_type([batch, queries, heads, out], np.int8),
            score_multiplier=tools.integer(score),
            score_shift=tools.integer(score_shift),
            output_multiplier=tools.integer(output),
            output_shift=tools.integer(output_shift),
            causal=tools.integer(how.get("causal", False)),
            mask=m[0] if m else None,
        )

    parity.add(build, *operands)


@QUICK
@given(seed=SEEDS)
def test_attention(tools: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parity = tools.parity()
    for case in range(CASES):
        queries = 1 if case < 3 else size(rng, 70)
        keys = size(rng, 150) if case != 3 else 129
        sizes = {
            "b": int(rng.integers(1, 3)),
            "q": queries,
            "k": keys,
            "h": int(rng.integers(1, 4)),
            "d": size(rng, 64),
            "e": size(rng, 64),
        }
        shapes = [
            (sizes["b"], sizes["h"], queries, keys),
            (1, 1, queries, keys),
            (keys,),
            (sizes["b"], 1, 1, keys),
            (queries, 1),
            (),
        ]
        mask = None
        if rng.random() < 0.6:
            shape = shapes[rng.integers(len(shapes))]
            mask = (rng.random(shape) < rng.choice([0.1, 0.8])).astype(
                pick(rng, [np.bool_, np.int8])
            )
            if mask.ndim:
                mask[..., : mask.shape[-1] // 2] *= mask.dtype.type(rng.integers(2))
            mask = np.asarray(mask)
        add_attention(parity, tools, rng, sizes, mask=mask, causal=bool(rng.integers(2)))
    parity.check()


def test_attention_that_sees_nothing(tools: Any) -> None:
    """Rows with every key hidden give 0; so does causality with more queries than keys."""
    rng = np.random.default_rng(5)
    parity = tools.parity()
    for queries in (1, 9):
        sizes = {"b": 1, "q": queries, "k": 5, "h": 2, "d": 8, "e": 8}
        add_attention(parity, tools, rng, sizes, mask=np.zeros((queries, 5), np.bool_))
        add_attention(parity, tools, rng, sizes, mask=np.zeros((5,), np.int8), causal=True)
        add_attention(parity, tools, rng, sizes, causal=True)
    parity.check()


def test_long_attention(tools: Any) -> None:
    """Sequences long enough for the form that computes one head after another."""
    rng = np.random.default_rng(6)
    parity = tools.parity()
    for batch, queries, keys, heads, depth, out, mask, causal in (
        (1, 700, 500, 2, 64, 64, None, False),
        (1, 513, 513, 2, 33, 17, None, True),
        (1, 400, 700, 2, 16, 8, (400, 700), True),
        (1, 400, 700, 1, 16, 80, (700,), False),
        (2, 600, 500, 1, 16, 16, (1, 1, 600, 1), False),
        (1, 16000, 17, 2, 8, 8, (1, 2, 1, 17), False),
        (1, 16000, 17, 1, 8, 8, None, True),
        (1, 700, 500, 1, 8, 8, (), False),
    ):
        sizes = {"b": batch, "q": queries, "k": keys, "h": heads, "d": depth, "e": out}
        seen = None if mask is None else np.asarray(rng.random(mask) < 0.7)
        add_attention(parity, tools, rng, sizes, mask=seen, causal=causal)
    parity.check()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_embedding(tools: Any, dtype: Any) -> None:
    rng = np.random.default_rng(7)
    parity = tools.parity()
    for shape in ((1,), (1, 1), (3, 4), ()):
        indices = rng.integers(0, 50, shape).astype(dtype)
        indices = np.asarray(indices, dtype)
        if indices.size > 2:
            indices.flat[:2] = [0, 49]
        table = draw(rng, np.int8, 50, 33)
        factors = rescale_parameters(rng, 50, 8).T.copy()
        factors[:, 0] = 0
        parity.add(
            lambda i, t, p, sizes=(*shape, 33): mfm.IntegerEmbeddingOp(
                indices=i, table=t, parameters=p, result=tools.tensor_type(sizes, np.int16)
            ),
            indices,
            table,
            factors,
        )
    # IREE clamps an index outside the table, which the reference refuses.
    outside, inside = np.array([-3, 50, 1 << 30], dtype), np.array([0, 49, 49], dtype)
    table, factors = draw(rng, np.int8, 50, 8), rescale_parameters(rng, 50, 8).T.copy()
    table_rows, (_, multiplier, shift) = table[inside], factors[inside].T
    parity.add(
        lambda i, t, p: mfm.IntegerEmbeddingOp(
            indices=i, table=t, parameters=p, result=tools.tensor_type([3, 8], np.int16)
        ),
        outside,
        table,
        factors,
        expected=arithmetic.rescale(table_rows, multiplier[:, None], shift[:, None], np.int16),
    )
    parity.check()
