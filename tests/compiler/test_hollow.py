"""Tensors that repeat one element: what is computed from them costs neither time nor memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from girih.compiler.hollow import HollowMode, hollow, hollowed, is_hollow, with_hollow_inputs

LARGE = 1 << 20


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LARGE, LARGE, device="meta")
        self.head = nn.Linear(LARGE, LARGE, bias=False, device="meta")
        self.head.weight = self.embedding.weight
        self.register_buffer("table", torch.arange(4.0))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.embedding(tokens)))


def test_a_module_of_terabytes_runs_in_no_memory() -> None:
    model = Tied()
    with hollowed([model]), HollowMode(), torch.no_grad():
        result = model(torch.tensor([[1, 2, 3]]))
    assert result.shape == (1, 3, LARGE)
    assert result.untyped_storage().nbytes() == 4


def test_shared_weights_stay_shared_and_all_come_back() -> None:
    model = Tied()
    before = model.head.weight
    with hollowed([model]):
        assert model.head.weight is model.embedding.weight
        assert is_hollow(model.head.weight)
        assert not is_hollow(model.table)
    assert model.head.weight is before
    assert model.embedding.weight is before


def test_what_decides_keeps_its_values() -> None:
    """Token numbers and masks are real, and a shape that depends on them is the real one."""
    with HollowMode():
        features = hollow((4, 8), torch.float32)
        mask = torch.tensor([1, 0, 1, 1]) == 1
        chosen = features[mask]
        mixed = torch.zeros(4, 8).masked_scatter(mask[:, None].expand(4, 8), chosen)
    assert chosen.shape == (3, 8)
    assert mixed.shape == (4, 8)
    assert mask.sum() == 3


def test_writing_to_a_hollow_tensor_leaves_it() -> None:
    with HollowMode():
        cache = hollow((2, 1024), torch.float32)
        cache.add_(1)
        cache.index_copy_(1, torch.tensor([3]), torch.ones(2, 1))
    assert is_hollow(cache)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_inputs_on_the_meta_device_become_hollow(dtype: torch.dtype) -> None:
    kept = torch.tensor([5])
    found = with_hollow_inputs({"a": torch.zeros(3, 4, dtype=dtype, device="meta"), "b": kept})
    assert is_hollow(found["a"])
    assert found["a"].dtype == dtype
    assert found["b"] is kept
