"""Products of inputs of 16 bits: as exact as their weights, whatever the inputs look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from girih.dialects import mfm
from girih.dialects.mfm.base import element
from girih.passes.quantization.rules import NodeRule
from tests.passes.test_quantize import Block, Call, decibels, normal, quantize, seeded


def exact_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear operation whose weights int8 holds as they are: what is lost, inputs lose."""
    module = seeded(lambda: nn.Linear(inputs, outputs))
    assert isinstance(module, nn.Linear)
    with torch.no_grad():
        module.weight.copy_(torch.randint(-127, 128, (outputs, inputs)) / 1024)
        module.weight[:, 0] = 127 / 1024
    return module


@pytest.mark.parametrize("outlier", [1, 30, 300])
def test_outliers_leave_the_other_channels_their_precision(outlier: int) -> None:
    """The reason for it: with 8 bits a large channel takes the bits of all others."""
    linear, x = exact_linear(64, 48), normal(1, 100, 64)
    with torch.no_grad():
        linear.weight[:, 5] = 1 / 1024
        x[..., 5] *= outlier
    narrow, wide = (quantize(linear, x, activations=bits).run(x)[0] for bits in (8, 16))
    assert decibels(linear(x), wide) > decibels(linear(x), narrow) + 35


def test_halves_do_not_saturate_where_the_sum_is_small() -> None:
    """Inputs of 131 = 256 - 125 units: the high half's product is twice the sum."""
    linear = exact_linear(64, 8)
    x = 131 * 1.25 / 32767 * torch.ones(1, 20, 64)
    with torch.no_grad():
        linear.bias.zero_()
        linear.weight[:, -1] = 0
    x[..., -1] = 1.0
    found = quantize(linear, x, activations=16).run(x)[0]
    assert decibels(linear(x), found) > 60


def test_a_bias_may_be_far_larger_than_what_is_left_of_it() -> None:
    linear, x = exact_linear(64, 8), 1 + 0.01 * normal(1, 100, 64)
    with torch.no_grad():
        linear.bias.copy_(-linear.weight.sum(dim=1))
    found = quantize(linear, x, activations=16).run(x)[0]
    assert decibels(linear(x), found) > 40


def test_a_block_of_16_bits_is_limited_by_its_weights() -> None:
    """Attention's products keep 8 bits, and so does what reads attention's result."""
    block, x = seeded(Block), normal(1, 50, 32)
    rules = (NodeRule(match="*", activations=16),)
    quantized = quantize(block, x, rules=rules)
    linears = quantized.operations(mfm.IntegerLinearOp)
    # Two products each, but for the one that reads attention's result.
    assert len(linears) == 2 * 6 - 1
    assert {element(op.x) for op in linears} == {"i8"}
    # The three that read the same norm read the same halves.
    assert len(quantized.operations(mfm.IntegerMultiplyOp)) == 3
    narrow = quantize(block, x).run(x)[0]
    assert decibels(block(x), quantized.run(x)[0]) > decibels(block(x), narrow) + 3


def test_readers_of_8_bits_round_what_others_read_whole() -> None:
    module = Call(lambda x, a, b: (a(x), b(x)), exact_linear(32, 16), exact_linear(32, 16))
    x = normal(1, 40, 32)
    quantized = quantize(module, x, rules=(NodeRule(match="parts.0", activations=16),))
    assert quantized.scales("arg_attrs") == [pytest.approx(float(x.abs().max()) * 1.25 / 32767)]
    wide, narrow = (
        decibels(exact, found) for exact, found in zip(module(x), quantized.run(x), strict=True)
    )
    assert wide > 60
    assert 30 < narrow < 50


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_take_16_bits_too(stride: int) -> None:
    convolution = seeded(lambda: nn.Conv1d(8, 16, 3, stride=stride, padding=1))
    with torch.no_grad():
        convolution.weight.copy_(torch.randint(-127, 128, (16, 8, 3)) / 1024)
        convolution.weight[:, 0, 0] = 127 / 1024
    module, x = Call(lambda x, a: F.relu(a(x)), convolution), normal(1, 8, 40)
    narrow, wide = (quantize(module, x, activations=bits).run(x)[0] for bits in (8, 16))
    assert decibels(module(x), wide) > decibels(module(x), narrow) + 10
    assert np.isfinite(wide).all()


def test_a_result_of_8_bits_is_rounded_once() -> None:
    """Both halves have 16 bits: at 8 their errors would add up."""
    module = Call(lambda x, a, b: b(a(x)), exact_linear(32, 32), exact_linear(32, 16))
    x = normal(1, 60, 32)
    quantized = quantize(module, x, rules=(NodeRule(match="parts.0", activations=16),))
    (total,) = [op for op in quantized.operations(mfm.IntegerAddOp) if element(op.lhs) == "i16"][1:]
    assert element(total.result) == "i8"
    assert decibels(module(x), quantized.run(x)[0]) > 35
