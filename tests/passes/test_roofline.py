"""Layers of Whisper-tiny's sizes take little more than their roofline: max(work, bytes moved).

Timing only, with random weights; the whole model is measured by `girih simulate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from girih.runtime.target import Target


def ratio(compiled: Any) -> float:
    """Simulated cycles over the sum of the layers' rooflines."""
    target = compiled.target
    bound = sum(
        max(
            layer.macs / target.macs_per_cycle,
            layer.compulsory_bytes / target.dram_bytes_per_cycle,
        )
        for layer in compiled.kernel.layers
    )
    return compiled.machine.run(compiled.kernel.program, functional=False).cycles / bound


def encoder_layer(g: Any, x: Any) -> Any:
    normal = g.layer_norm(x)
    q, k, v = (g.reshape(g.linear(normal, 384), 1, 1500, 6, 64) for _ in range(3))
    mixed = g.reshape(g.attention(q, k, v), 1, 1500, 384)
    x = g.add(x, g.linear(mixed, 384, "i16"))
    inner = g.gelu(g.linear(g.layer_norm(x), 1536, "i16"))
    return g.add(x, g.linear(inner, 384, "i16"))


@pytest.mark.parametrize(("name", "limit"), [("edge", 1.5), ("small", 1.7)])
def test_encoder_layer(graph: Any, name: str, limit: float) -> None:
    g = graph([np.zeros((1, 1500, 384), np.int16)])
    g.finish(encoder_layer(g, g.arguments[0]))
    assert ratio(g.compile(Target.load(name))) <= limit


@pytest.mark.parametrize(("name", "limit"), [("edge", 1.5), ("small", 1.7)])
def test_convolutions(graph: Any, name: str, limit: float) -> None:
    g = graph([np.zeros((1, 3000, 80), np.int8)])
    x = g.gelu(g.conv1d(g.arguments[0], 384, 3, 1, 1, "i16"))
    g.finish(g.gelu(g.conv1d(x, 384, 3, 2, 1, "i16"), "i16"))
    assert ratio(g.compile(Target.load(name))) <= limit


@pytest.mark.parametrize("outputs", [384, 51865])
def test_product_of_one_row_is_bound_by_bandwidth(graph: Any, outputs: int) -> None:
    g = graph([np.zeros((1, 384), np.int8)])
    g.finish(g.linear(g.arguments[0], outputs, "i16"))
    assert ratio(g.compile(Target.load("edge"))) <= 1.5


def test_no_layer_moves_less_than_it_must(graph: Any) -> None:
    """Of a lookup's tables, the rows and their scales; positions as DRAM holds them."""
    g = graph([np.array([3, 1], np.int64)])
    g.finish(g.integer_embedding(g.arguments[0], 30, 64))
    compiled = g.compile(Target.load("edge"))
    found = compiled.machine.run(compiled.kernel.program, functional=False)
    moved = found.counts.dram_read_bytes + found.counts.dram_write_bytes
    assert sum(layer.compulsory_bytes for layer in compiled.kernel.layers) <= moved
