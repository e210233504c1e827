"""Values that a model reads from its inputs are known in the program, and said to be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

import girih
from girih.compiler.exporting import Exported, export
from girih.compiler.patches import INPUTS_DECIDE
from girih.runtime.errors import ImportingError


class Reader(hf.PreTrainedModel):
    """A model of transformers whose `forward` is given."""

    config_class = hf.PretrainedConfig

    def __init__(self, function: Any) -> None:
        super().__init__(hf.PretrainedConfig())
        self.function = function
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def exported(function: Any, *inputs: Tensor) -> Exported:
    return export(Reader(function), inputs, (INPUTS_DECIDE,))


def results(found: Exported, model: Any, *inputs: Tensor) -> list[Tensor]:
    weights = dict(model.named_parameters())
    known = {**weights, **found.program.constants}
    names = [spec.target for spec in found.program.graph_signature.input_specs if spec.target]
    return list(found.program.graph_module(*(known[name] for name in names), *inputs))


X = torch.arange(12.0).reshape(3, 4)
MASK = torch.tensor([True, False, True])
SIZES = torch.tensor([2, 3])

READS = {
    "numbers": lambda m, x, n: x[: int(n[0]), : n[1].item()],
    "a branch": lambda m, x, n: x + 1 if n.sum() > 4 else x - 1,
    "a list": lambda m, x, n: torch.cat([x[:size] for size in n.tolist()]),
    "new sizes": lambda m, x, n: x.new_zeros(n[0], n[1]) + m.scale,
    "an enlarged image": lambda m, x, n: nn.functional.interpolate(
        x[None, None], size=(n[0] * 2, n[1] * 2), mode="bilinear"
    ),
    "padding": lambda m, x, n: nn.functional.pad(x, (0, n[0], n[1], 0)),
    "repeats": lambda m, x, n: x[:2].repeat_interleave(n, 0),
    "a span": lambda m, x, n: x[n[0] - 2 : n[1] - 1],
}


@pytest.mark.parametrize("name", READS)
def test_what_is_read_is_part_of_the_program(name: str) -> None:
    model = Reader(READS[name])
    found = export(model, (X, SIZES), (INPUTS_DECIDE,))
    assert found.patches == ("inputs-decide",)
    assert found.notes == ()
    assert all("test_decisions.py" in line for line in found.decisions)
    assert found.decisions
    other = X * 3 + 1
    assert torch.equal(results(found, model, other, SIZES)[0], model(other, SIZES))


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x, mask: x[mask],
        lambda m, x, mask: x[mask.nonzero()[:, 0]],
        lambda m, x, mask: x.masked_select(mask[:, None]),
        lambda m, x, mask: x[torch.where(mask)[0]],
    ],
)
def test_masks_become_positions(function: Any) -> None:
    model = Reader(function)
    found = export(model, (X, MASK), (INPUTS_DECIDE,))
    other = X * 3 + 1
    assert torch.equal(results(found, model, other, MASK)[0], model(other, MASK))


def test_a_mask_that_only_stores_is_read_by_no_program() -> None:
    def store(m: Any, x: Tensor, mask: Tensor) -> Tensor:
        x = x.clone()
        x[mask] = m.scale
        return x

    model = Reader(store)
    found = export(model, (X, MASK), (INPUTS_DECIDE,))
    assert found.decisions == ()
    assert torch.equal(results(found, model, X, ~MASK)[0], model(X, ~MASK))


def test_what_no_input_decides_needs_no_word() -> None:
    def positions(m: Any, x: Tensor, mask: Tensor) -> Tensor:
        return x + 1 if (torch.arange(len(x)) >= 0).all() else x

    found = export(Reader(positions), (X, MASK), (INPUTS_DECIDE,))
    assert found.decisions == ()


def test_a_decision_by_what_the_model_computes_is_refused() -> None:
    with pytest.raises(ImportingError, match=r"decides by values that are computed with .*scale"):
        exported(lambda m, x: x + 1 if (x * m.scale).sum() > 4 else x - 1, X)


def test_compiling_says_what_was_read() -> None:
    with pytest.warns(
        girih.DecisionWarning, match=r"reads values of its inputs at .*test_decisions"
    ):
        girih.compile(Reader(READS["a branch"]), (X, SIZES), recipe="float")
