"""Export: functional, checked against the module itself, honest about differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import girih
from girih.compiler.exporting import export
from girih.runtime.errors import ImportingError


class Cache(nn.Module):
    """Writes into its first argument, as an in-place key-value cache does."""

    def forward(self, cache: Tensor, rows: Tensor, position: Tensor) -> Tensor:
        cache.index_copy_(1, position, rows)
        return cache.sum(1)


class Counter(nn.Module):
    """Keeps a count in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x + self.count


class Guarded(nn.Module):
    """Checks its input at run time; torch.export keeps such checks as assertions."""

    def forward(self, x: Tensor) -> Tensor:
        torch._check((x > 0).all().item())
        return x * 2


class TwoFaced(nn.Module):
    """Computes something else when it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (1 if torch.compiler.is_compiling() else 0)


class Options(nn.Module):
    """Takes keyword arguments that are not tensors; returns more than tensors."""

    def forward(self, x: Tensor, *, scale: float, flip: bool = False) -> dict[str, Any]:
        return {"y": (x.flip(0) if flip else x) * scale, "nothing": None, "x": x + 1}


class Nested(nn.Module):
    """Uses operations of the tail, which torch's own definitions take apart."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return nn.functional.glu(x), torch.diff(x)


class Pieces(nn.Module):
    """Returns items of split tensors as they are."""

    def forward(self, x: Tensor) -> Any:
        left, right = x.split([1, 3], 1)
        return left, right.unbind(1)[2], x.unbind(0), torch.cat([right, left, right], 1)


def operations(module: nn.Module, *inputs: Tensor) -> list[str]:
    graph = export(module, inputs).program.graph
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def test_a_mutated_input_is_a_result_after_the_modules_own() -> None:
    inputs = (torch.zeros(1, 4, 2), torch.ones(1, 1, 2), torch.tensor([2]))
    program = girih.compile(Cache(), inputs, recipe="float")
    total, cache = program(*inputs)
    assert total.tolist() == [[1, 1]]
    assert cache[0].tolist() == [[0, 0], [0, 0], [1, 1], [0, 0]]
    assert inputs[0].sum() == 0, "compiling must not touch the caller's tensors"


def test_a_mutated_buffer_is_refused_by_name() -> None:
    with pytest.raises(
        ImportingError, match="the module changes its buffer 'count' at .*: pass it"
    ):
        export(Counter(), (torch.ones(2),))


def test_run_time_checks_are_dropped_with_all_that_they_read() -> None:
    assert operations(Guarded(), torch.ones(3)) == ["aten.mul.Tensor"]


def test_the_tail_is_taken_apart_and_what_matters_stays_whole() -> None:
    names = operations(Nested(), torch.ones(2, 8))
    assert "aten.glu.default" not in names
    assert "aten.diff.default" not in names
    block = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GELU(), nn.SiLU())
    assert operations(block, torch.ones(2, 4)) == [
        "aten.linear.default",
        "aten.layer_norm.default",
        "aten.gelu.default",
        "aten.silu.default",
    ]


def test_items_of_split_tensors_may_be_results_and_parts_of_unlike_size() -> None:
    x = torch.arange(8.0).reshape(2, 4)
    left, last, first, second, together = girih.compile(Pieces(), (x,), recipe="float")(x)
    assert left.tolist() == [[0], [4]]
    assert last.tolist() == [3, 7]
    assert [first.tolist(), second.tolist()] == x.tolist()
    assert together[0].tolist() == [1, 2, 3, 0, 1, 2, 3]


def test_a_module_that_differs_when_traced_is_said_so() -> None:
    (note,) = export(TwoFaced(), (torch.ones(3),)).notes
    assert "result 0 of the exported program differs from the module's by 1 of" in note
    with pytest.warns(girih.ExportWarning, match="entry 'main': result 0"):
        girih.compile(TwoFaced(), (torch.ones(3),), recipe="float")


def test_inputs_by_name_and_options_that_are_not_tensors() -> None:
    inputs = {"x": torch.arange(4.0), "scale": 2.0, "flip": True}
    program = girih.compile(Options(), inputs, recipe="float")
    y, x = program(torch.arange(4.0))
    assert y.tolist() == [6, 4, 2, 0]
    assert x.tolist() == [1, 2, 3, 4]


def test_a_module_that_does_not_run_is_refused_in_one_sentence() -> None:
    with pytest.raises(ImportingError, match="^Linear does not run on its example inputs: mat1"):
        export(nn.Linear(4, 3), (torch.zeros(2, 5),))


class Listening(nn.Module):
    """Registers a hook when it first runs, and a note that it did, as transformers' models do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not getattr(self, "listens", False):
            self.linear.register_forward_hook(lambda module, args, output: output + 1)
            self.listens = True
        return self.linear(x)


def test_hooks_that_a_run_registers_go_with_the_note_that_they_are_there() -> None:
    module, x = Listening().eval(), torch.ones(2, 4)
    exported = export(module, (x,))
    assert exported.notes == ()
    assert not module.linear._forward_hooks
    assert torch.equal(module(x), module.linear(x)), "one hook, not two"
    torch.testing.assert_close(module(x), x @ module.linear.weight.T + module.linear.bias + 1)


class Layer:
    """Not a type that torch knows, as the layers of a cache are not."""

    def __init__(self, keys: Tensor) -> None:
        self.length, self.keys = 3, keys


class Caching(nn.Module):
    """Returns an object that holds tensors, as transformers' causal models do if not told."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"y": x * 2, "cache": Layer(x + 1)}


def test_what_a_returned_cache_holds_are_results() -> None:
    y, keys = girih.compile(Caching(), (torch.ones(2),), recipe="float")(torch.ones(2))
    assert y.tolist() == keys.tolist() == [2, 2]


def test_a_cache_as_input_is_refused() -> None:
    inputs = {"x": torch.ones(2), "scale": Layer(torch.ones(1))}
    with pytest.raises(
        ImportingError, match="^argument 'scale' of Options.* is a Layer that holds"
    ):
        export(Options(), inputs)


class Scratch(nn.Module):
    """Overwrites a buffer before it reads it, as rotary embeddings of two lengths do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("angles", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.angles.copy_(torch.where(x.max() > 3, x, 2 * x))
        return x + self.angles


def test_a_buffer_that_is_overwritten_before_it_is_read_is_no_state() -> None:
    module = Scratch()
    program = girih.compile(module, (torch.ones(2),), recipe="float")
    assert program(torch.ones(2))[0].tolist() == [3, 3]
    assert program(torch.full((2,), 4.0))[0].tolist() == [8, 8]
    assert module.angles.tolist() == [0, 0], "compiling must not touch the module"
