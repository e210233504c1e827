"""Gradients of the student: those of float operations, none where an integer is at its limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from girih.compiler.adaptation.student import straight_through
from girih.compiler.adaptation.teacher import distance, divergence, error
from girih.passes.base import Unit


def test_gradients_pass_through_rounding_and_stop_at_limits() -> None:
    value = torch.tensor([[0.26, -1.6, 200.0], [-0.6, 0.9, -200.0]], requires_grad=True)
    unit = Unit(0.5, np.array([1.0, 2.0, 1.0]), 0, 63.5, None)
    integers = torch.tensor([[1, -2, 127], [-1, 1, -128]], dtype=torch.int8)
    worth = straight_through(value, integers, unit)
    assert worth.tolist() == [[0.5, -2.0, 63.5], [-0.5, 1.0, -64.0]]
    (worth * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [[1.0, 2.0, 0.0], [1.0, 2.0, 0.0]]


def test_an_offset_moves_the_limits() -> None:
    value = torch.tensor([-0.5, 0.0, 100.0, 128.0], requires_grad=True)
    integers = torch.tensor([-128, -128, 72, 127], dtype=torch.int8)
    worth = straight_through(value, integers, Unit(0.5, None, -128, 127.5, 0.0))
    assert worth.tolist() == [0.0, 0.0, 100.0, 127.5]
    worth.sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_what_stays_float_is_taken_as_it_is() -> None:
    value = torch.tensor([1.0, 2.0], requires_grad=True)
    worth = straight_through(value, torch.tensor([1.5, 1e9]), None)
    assert worth.tolist() == [1.5, 1e9]
    worth.sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [1.0, 1.0]


def test_divergence_is_per_row_and_error_is_relative() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 3, 4, 5, generator=generator)
    rows = (theirs.softmax(-1) * (theirs.log_softmax(-1) - ours.log_softmax(-1))).sum(-1)
    assert divergence(ours, theirs).item() == pytest.approx(rows.mean().item(), rel=1e-5)
    assert divergence(theirs, theirs).item() == pytest.approx(0, abs=1e-6)
    assert error(2 * theirs, theirs).item() == pytest.approx(1.0)


def test_distance_leaves_out_what_the_teacher_does_not_know() -> None:
    x = torch.ones(1, 4)
    known = {"a": x, "b": torch.ones(1, 8), "count": torch.tensor([3])}
    pruned = {"a": 3 * x, "b": torch.ones(1, 6), "count": torch.tensor([4])}
    found = distance(([[x]], pruned), ([[x]], known), "error", 0.5)
    assert found.item() == pytest.approx(0.5 * 4)
    logits = F.one_hot(torch.tensor([1]), 4).float()
    assert distance(([[logits]], {}), ([[x]], known), "divergence", 1.0).item() > 0.1
