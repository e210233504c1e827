"""The float operations compiled by IREE are within a stated tolerance of their `reference()`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.dialects import mfm

SUMS = 2e-5
"""Tolerance of sums of up to a few hundred products of unit magnitude, relative and absolute."""
CURVES = 4e-6
"""Tolerance of the polynomials that stand for erf, tanh and exp."""


def normal(rng: np.random.Generator, *sizes: int) -> Any:
    return rng.standard_normal(sizes).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True])
def test_linear(tools: Any, bias: bool) -> None:
    rng = np.random.default_rng(1)
    parity = tools.parity()
    for rows, depth, channels in (((1,), 7, 5), ((2, 3), 64, 33), ((17,), 100, 1), ((1, 1), 1, 3)):
        operands = [normal(rng, *rows, depth), normal(rng, channels, depth) / depth**0.5]
        if bias:
            operands.append(normal(rng, channels))
        parity.add(
            lambda x, w, *b, rows=rows, channels=channels: mfm.LinearOp(
                x=x,
                weight=w,
                bias=b[0] if b else None,
                result=tools.tensor_type([*rows, channels], np.float32),
            ),
            *operands,
            tolerance=SUMS,
        )
    parity.check()


@pytest.mark.parametrize("bias", [False, True])
def test_conv1d(tools: Any, bias: bool) -> None:
    rng = np.random.default_rng(2)
    parity = tools.parity()
    for batch, length, channels, outputs, kernel, stride, padding in (
        (1, 30, 8, 16, 3, 1, 1),
        (2, 31, 5, 7, 3, 2, 1),
        (1, 9, 1, 1, 1, 1, 0),
        (1, 20, 3, 4, 5, 3, 4),
    ):
        steps = (length + 2 * padding - kernel) // stride + 1
        operands = [normal(rng, batch, length, channels), normal(rng, outputs, kernel * channels)]
        if bias:
            operands.append(normal(rng, outputs))
        window = {"kernel": kernel, "stride": stride, "padding": padding}
        parity.add(
            lambda x, w, *b, sizes=(batch, steps, outputs), window=window: mfm.Conv1dOp(
                x=x,
                weight=w,
                bias=b[0] if b else None,
                result=tools.tensor_type(sizes, np.float32),
                **{name: tools.integer(value) for name, value in window.items()},
            ),
            *operands,
            tolerance=SUMS,
        )
    parity.check()


def test_elementwise(tools: Any) -> None:
    rng = np.random.default_rng(3)
    parity = tools.parity()
    for lhs, rhs in (((3, 5), (3, 5)), ((2, 1, 7), (4, 1)), ((), (2, 2)), ((1,), (1,))):
        sizes = np.broadcast_shapes(lhs, rhs)
        parity.add(
            lambda x, y, sizes=sizes: mfm.AddOp(
                lhs=x, rhs=y, result=tools.tensor_type(sizes, np.float32)
            ),
            normal(rng, *lhs).reshape(lhs),
            normal(rng, *rhs).reshape(rhs),
        )
    parity.add(
        lambda x: mfm.MultiplyScalarOp(
            x=x, result=tools.tensor_type([4, 9], np.float32), factor=tools.real(0.1)
        ),
        normal(rng, 4, 9),
    )
    wide = np.concatenate([np.linspace(-12, 12, 4001), [-1e30, 1e30, 0.0]]).astype(np.float32)
    for approximate in ("none", "tanh"):
        parity.add(
            lambda x, approximate=approximate: mfm.GeluOp(
                x=x,
                result=tools.tensor_type(wide.shape, np.float32),
                approximate=ir.StringAttr.get(approximate),
            ),
            wide,
            tolerance=CURVES,
        )
    parity.check()


@pytest.mark.parametrize("predicate", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_compare(tools: Any, predicate: str) -> None:
    rng = np.random.default_rng(4)
    parity = tools.parity()
    for dtype in (np.int64, np.int32, np.int8, np.float32, np.bool_):
        for lhs, rhs in (((7,), (7,)), ((5, 1), (1, 9)), ((3,), (1,))):
            left, right = (rng.integers(-2, 2, sizes).astype(dtype) for sizes in (lhs, rhs))
            if dtype is np.float32:
                left[0] = np.nan
            shape = np.broadcast_shapes(lhs, rhs)
            parity.add(
                lambda x, y, sizes=shape: mfm.CompareOp(
                    lhs=x,
                    rhs=y,
                    result=tools.tensor_type(sizes, np.bool_),
                    predicate=ir.StringAttr.get(predicate),
                ),
                left,
                right,
            )
    parity.check()


def test_layer_norm(tools: Any) -> None:
    rng = np.random.default_rng(5)
    parity = tools.parity()
    for sizes in ((1, 384), (2, 3, 33), (7, 1), (5,)):
        parity.add(
            lambda x, g, b, sizes=sizes: mfm.LayerNormOp(
                x=x,
                gamma=g,
                beta=b,
                result=tools.tensor_type(sizes, np.float32),
                epsilon=tools.real(1e-5),
            ),
            normal(rng, *sizes) * 3 + 1,
            normal(rng, sizes[-1]),
            normal(rng, sizes[-1]),
            tolerance=SUMS,
        )
    parity.check()


def test_quantize(tools: Any) -> None:
    """The host's seams are exact: the same float32 product, the same rounding."""
    rng = np.random.default_rng(6)
    parity = tools.parity()
    special = [np.nan, np.inf, -np.inf, 0.5, 1.5, 2.5, -0.5, -1.5, 127.5, -128.5, 32767.5, 3e38]
    values = np.concatenate(
        [np.array(special, np.float32), normal(rng, 500) * 100, normal(rng, 88) * 1e5]
    )
    for dtype in (np.int8, np.int16):
        for scale in (1.0, 0.37):
            parity.add(
                lambda x, dtype=dtype, scale=scale: mfm.QuantizeOp(
                    x=x,
                    result=tools.tensor_type(values.shape, dtype),
                    inverse_scale=tools.real(scale),
                ),
                values.astype(np.float32),
            )
        integers = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (5, 33)).astype(dtype)
        parity.add(
            lambda x: mfm.DequantizeOp(
                x=x, result=tools.tensor_type([5, 33], np.float32), scale=tools.real(0.013)
            ),
            integers,
        )
    parity.check()


@pytest.mark.parametrize("causal", [False, True])
def test_attention(tools: Any, causal: bool) -> None:
    rng = np.random.default_rng(7)
    parity = tools.parity()
    for batch, queries, keys, heads, shared, depth, out, masked in (
        (1, 1, 9, 2, 2, 8, 8, "i1"),
        (2, 5, 33, 3, 3, 16, 7, ""),
        (1, 70, 129, 1, 1, 64, 64, "i8"),
        (1, 9, 4, 2, 2, 8, 8, "i1"),
        (2, 5, 33, 6, 2, 16, 7, "i1"),
        (1, 7, 19, 4, 1, 8, 8, "f32"),
    ):
        operands = [
            normal(rng, batch, queries, heads, depth),
            normal(rng, batch, keys, shared, depth),
            normal(rng, batch, keys, shared, out),
        ]
        if masked == "f32":
            operands.append(normal(rng, heads, queries, keys))
        elif masked:
            mask = rng.random((1, 1, queries, keys)) < 0.6
            mask[..., 0, :] = False
            operands.append(mask.astype(np.int8 if masked == "i8" else np.bool_))
        parity.add(
            lambda q, k, v, *m, sizes=(batch, queries, heads, out): mfm.AttentionOp(
                query=q,
                key=k,
                value=v,
                mask=m[0] if m else None,
                result=tools.tensor_type(sizes, np.float32),
                scale=tools.real(0.3),
                causal=tools.integer(causal),
            ),
            *operands,
            tolerance=SUMS,
        )
    parity.check()
