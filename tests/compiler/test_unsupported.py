"""Models that do not compile, or not as they are: each one clear error or a named fallback.

A line that ends in the comment `here` is what the message must name.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import girih
from girih.compiler.cli import run
from girih.runtime.errors import GirihError

FILE = Path(__file__)


class Model(nn.Module):
    """A layer for models to begin with, so that there is something to compile."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)


# ---- refused ----


class Nonzero(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)[torch.nonzero(x[:, 0])[:, 0]]  # here


class BooleanMask(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)[x > 0]  # here


class Unique(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.unique(self.linear(x))  # here


class ItemInShape(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(int(x.abs().sum().item())) + self.linear(x).sum()  # here


class ItemInArithmetic(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * x.sum().item()  # here


class Branch(Model):
    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        if x.sum() > 0:  # here
            return x
        return -x


class WhileLoop(Model):
    def forward(self, x: Tensor) -> Tensor:
        while x.sum() < 100:  # here
            x = x + self.linear(x).abs()
        return x


class Condition(Model):
    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (y,))  # here


class Fourier(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(self.linear(x)).real  # here


class ComplexInput(Model):
    def forward(self, x: Tensor) -> Tensor:  # here
        return self.linear(x.abs())


class ComplexResult(Model):
    def forward(self, x: Tensor) -> Tensor:  # here
        return torch.view_as_complex(self.linear(x).reshape(-1, 4, 2))


class Sparse(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.linear(x).t().to_sparse(), x)  # here


class SparseInput(Model):
    def forward(self, x: Tensor) -> Tensor:  # here
        return torch.sparse.mm(x, self.linear.weight)


class Strings(Model):
    def forward(self, x: Tensor) -> Any:  # here
        return {"logits": self.linear(x), "label": "cat"}


class NoTensor(Model):
    def forward(self, x: Tensor) -> Any:  # here
        return x.shape[0]


class ActiveDropout(Model):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.linear(x), 0.5, training=True)  # here


class ActiveBatchNorm(Model):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.linear(x), None, None, training=True)  # here


class Random(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.rand(2, 8)  # here


class Sampling(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.multinomial(F.softmax(self.linear(x), -1), 1)  # here


class Counter(Model):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1  # here
        return self.linear(x) + self.count


class LongSort(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).expand(2000, 8).sort(0)[0]  # here


class Bessel(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.i0(self.linear(x))  # here


class ToNumpy(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.linear(x).detach().numpy() + 1)  # here


class Empty(Model):
    def forward(self, x: Tensor) -> Tensor:  # here
        return self.linear(x[:0])


class WrongShape(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x[:, :5])  # here


@torch.library.custom_op("girih_tests::twist", mutates_args=())
def twist(x: Tensor) -> Tensor:
    return x.flip(-1).clone()


@twist.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Custom(Model):
    def forward(self, x: Tensor) -> Tensor:
        return twist(self.linear(x))  # here


class Quantized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = nn.Sequential(nn.Linear(8, 8))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.layers = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})

    def forward(self, x: Tensor) -> Tensor:  # here
        return self.layers(x)


class Dynamic(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # here


def example(model: nn.Module) -> tuple[Any, tuple[Tensor, ...]]:
    """What `girih.compile` takes: the model and inputs, which some models want to be special."""
    torch.manual_seed(0)
    x = torch.randn(2, 8)
    if isinstance(model, ComplexInput):
        return model, (x.to(torch.complex64),)
    if isinstance(model, SparseInput):
        return model, (x.to_sparse(),)
    if isinstance(model, LongSort):
        return model, (x[:1],)
    if isinstance(model, Dynamic):
        length = torch.export.Dim("length", min=2, max=64)
        return torch.export.export(model, (x,), dynamic_shapes=({0: length},)), (x,)
    return model, (x,)


# Model, what the message calls the cause, and the way out.
REFUSED: list[tuple[type[nn.Module], str, str]] = [
    (Nonzero, "aten.nonzero", "torch.where"),
    (BooleanMask, "aten.index", "torch.where"),
    (Unique, "aten._unique2", "torch.where"),
    (ItemInShape, ".item()", "Python constant"),
    (ItemInArithmetic, "Tensor.item()", "Python constant"),
    (Branch, "`if x.sum() > 0", "choose with torch.where"),
    (WhileLoop, "`while x.sum() < 100", "a fixed number of steps"),
    (Condition, "cond", "choose with torch.where"),
    (Fourier, "aten._fft_r2c", "two real tensors"),
    (ComplexInput, "argument 0", "torch.view_as_real"),
    (ComplexResult, "a result", "torch.view_as_real"),
    (Sparse, "aten._to_sparse", "to_dense()"),
    (SparseInput, "argument 0", "to_dense()"),
    (Strings, "returns a str", "return tensors alone"),
    (NoTensor, "returns no tensor", "return at least one"),
    (ActiveDropout, "dropout", "eval mode"),
    (ActiveBatchNorm, "batch_norm", "eval()"),
    (Random, "aten.rand", "as an input"),
    (Sampling, "aten.multinomial", "as an input"),
    (Counter, "buffer 'count'", "pass it as an input"),
    (LongSort, "aten.sort", "outside of the model"),
    (Bessel, "aten.i0", "outside of the compiled module"),
    (ToNumpy, "a conversion to NumPy", "compute with torch"),
    (Empty, "empty (shape [0, 8])", "at least one element"),
    (WrongShape, "does not run on its example inputs", "shapes"),
    (Custom, "girih_tests.twist", "outside of the compiled module"),
    (Quantized, "a quantized torch module", "the recipe w8a8"),
    (Dynamic, "dynamic shape [", "one entry for each shape"),
]


def marked_line(model: type[nn.Module]) -> int:
    """Number of the line of a class that ends in the comment `here`."""
    lines, start = inspect.getsourcelines(model)
    (offset,) = [index for index, line in enumerate(lines) if line.rstrip().endswith("# here")]
    return start + offset


def check_message(text: str, model: type[nn.Module], cause: str, advice: str) -> None:
    assert "\n" not in text
    assert len(text) < 400
    assert cause in text
    assert advice in text
    assert f"{FILE}:{marked_line(model)}" in text
    assert not re.search(r"site-packages|callsite|%\d|Traceback", text)


@pytest.mark.parametrize(("model", "cause", "advice"), REFUSED, ids=lambda each: str(each)[-40:])
def test_refused_in_one_sentence(
    model: type[nn.Module], cause: str, advice: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The sentence names the operation, the model's own line, and what to write instead."""
    module, inputs = example(model())
    with pytest.raises(GirihError) as caught:
        girih.compile(module, inputs, recipe="float")
    check_message(str(caught.value), model, cause, advice)
    assert capfd.readouterr().err == "", "torch printed a graph beside the error"


@pytest.mark.parametrize("model", [Branch, Custom, Fourier, ComplexInput, BooleanMask])
def test_quantizing_refuses_with_the_same_sentence(model: type[nn.Module]) -> None:
    module, inputs = example(model())
    messages: list[str] = []
    for recipe in ("float", "w8a8"):
        with pytest.raises(GirihError) as caught:
            girih.compile(module, inputs, recipe=recipe)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("model", [Branch, Bessel, Strings])
def test_the_command_prints_the_sentence_alone(
    model: type[nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("girih.compiler.cli_models.load_model", lambda name: example(model()))
    assert run(["compile", "this_file.py:build", "-o", f"{tmp_path}/m.girih"]) == 1
    error = capfd.readouterr().err
    assert error.startswith("girih: ")
    assert error.count("\n") == 1
    assert f"{FILE}:{marked_line(model)}" in error
    assert not (tmp_path / "m.girih").exists()


# ---- compiled, with a named fallback ----


class InPlace(Model):
    def forward(self, x: Tensor) -> Tensor:
        x.add_(1)
        return self.linear(x)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer = kind(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[None])[0]  # here


class Sort(Model):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = self.linear(x).sort(-1, descending=True)  # here
        return values, indices


class TopK(Model):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = self.linear(x).topk(3, 0, largest=False)  # here
        return values, indices

    def example(self) -> Tensor:
        return torch.randn(5, 8)


class Rotation(Model):
    """Rotary embedding as complex products."""

    def forward(self, x: Tensor) -> Tensor:
        turn = torch.view_as_complex(x.reshape(2, 4, 2))
        y = torch.view_as_complex(self.linear(x).reshape(2, 4, 2)) * turn
        return torch.view_as_real(y).reshape(2, 8)


class ComplexWeight(Model):
    """The same, with the rotation as a complex buffer."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(16.0).reshape(4, 4)
        self.register_buffer("turn", torch.polar(torch.ones(4, 4), angles)[:, ::2])

    def forward(self, x: Tensor) -> Tensor:
        y = torch.view_as_complex(self.linear(x).reshape(4, 2, 2))
        return torch.view_as_real(y * self.turn).reshape(2, 8)


class EmptyInside(Model):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.linear(x[:0]), self.linear(x)], 0)


class Training(Model):
    """Left in training mode: dropout and statistics of the batch are for training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        self.norm = nn.BatchNorm1d(8)
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.dropout(self.linear(x)))


class Double(Model):
    def __init__(self) -> None:
        super().__init__()
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.double())  # here


def lstm() -> nn.Module:
    return Recurrent(nn.LSTM)


def gru() -> nn.Module:
    return Recurrent(nn.GRU)


def rnn() -> nn.Module:
    return Recurrent(nn.RNN)


FALLBACKS: list[Callable[[], nn.Module]] = [
    lstm, gru, rnn, Sort, TopK, Double,
]  # fmt: skip


@pytest.mark.parametrize(
    "build", [*FALLBACKS, Rotation, ComplexWeight, EmptyInside, InPlace, Training]
)
@pytest.mark.parametrize("recipe", ["float", "w8a8"])
def test_compiled_with_right_results(build: Callable[[], nn.Module], recipe: str) -> None:
    torch.manual_seed(0)
    model = build()
    x = model.example() if isinstance(model, TopK) else torch.randn(2, 8)
    program = girih.compile(model, (x,), recipe=recipe)
    with torch.no_grad():
        expected = model.eval()(x.clone())
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = program(x.clone())
    # What an operation changes in place comes back as one more result.
    assert len(found) == len(expected) + isinstance(model, InPlace)
    for ours, theirs in zip(found, expected, strict=False):
        exact = recipe == "float" or theirs.dtype == torch.int64
        largest = float(theirs.abs().max())
        tolerance = 1e-5 if exact else 0.03 * largest
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=tolerance)
    on_device = program(x.clone(), device="npu")
    for ours, theirs in zip(on_device, found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("build", FALLBACKS)
def test_the_fallback_is_named(build: Callable[[], nn.Module]) -> None:
    """The report names each operation on the host, why, and the model's line."""
    torch.manual_seed(0)
    model = build()
    program = girih.compile(model, (torch.randn(2 if build is not TopK else 5, 8),))
    listed = program.executable.entries["main"].host_operations
    assert listed
    assert all(operation.reason for operation in listed)
    assert f"{FILE}:{marked_line(type(model))}" in {operation.source for operation in listed}


def test_bfloat16_is_stored_narrow_and_computed_in_float32() -> None:
    torch.manual_seed(0)
    model = Dynamic().bfloat16()
    x = torch.randn(2, 8, dtype=torch.bfloat16)
    (found,) = girih.compile(model, (x,), recipe="float")(x.float())
    expected = model.float()(x.float()).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sorting_keeps_the_order_of_equal_elements() -> None:
    torch.manual_seed(0)

    class Ties(nn.Module):
        def forward(self, x: Tensor) -> Any:
            last = x.sort(dim=-1, stable=True)
            first = x.sort(dim=0, descending=True, stable=True)
            return last, first, x.argsort(dim=1, stable=True)

    x = torch.randint(0, 4, (5, 40)).float()
    x[0, 0], x[1, 1] = float("inf"), float("-inf")
    found = girih.compile(Ties(), (x,), recipe="float")(x)
    expected = [*x.sort(dim=-1, stable=True), *x.sort(dim=0, descending=True, stable=True)]
    expected.append(x.argsort(dim=1, stable=True))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())


# ---- strict ----


class Arctangent(Model):
    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.atan(self.linear(x)))  # here


class Clean(Model):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.linear(x))


@pytest.mark.parametrize("recipe", ["float", "w8a8"])
def test_strict_lists_what_falls_back(recipe: str) -> None:
    with pytest.raises(GirihError) as caught:
        girih.compile(Arctangent(), (torch.randn(2, 8),), recipe=recipe, strict=True)
    text = str(caught.value)
    assert text.startswith("strict: 1 operation ")
    assert "torch.aten.atan at " in text
    assert "of the MACs" in text
    assert f"{FILE}:{marked_line(Arctangent)}" in text
    assert "quantize" not in text, "seams at the door do not count"


@pytest.mark.parametrize("recipe", ["float", "w8a8"])
def test_strict_takes_what_stays_on_its_device(recipe: str) -> None:
    girih.compile(Clean(), (torch.randn(2, 8),), recipe=recipe, strict=True)


def test_shares_are_of_the_whole_entry() -> None:
    """Half of the products fall back: half of the MACs."""

    class Half(Model):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("ij,jk->ik", torch.atan(self.linear(x)), self.linear.weight)

    for recipe in ("float", "w8a8"):
        program = girih.compile(Half(), (torch.randn(2, 8),), recipe=recipe)
        listed = program.executable.entries["main"].host_operations
        assert sum(each.macs_share for each in listed) <= 1.0 + 1e-9
        assert 0 < sum(each.bytes_share for each in listed) <= 1.0 + 1e-9
        products = [each for each in listed if each.macs]
        assert {each.macs for each in products} <= {2 * 8 * 8}
        assert all(each.macs_share == 0.5 for each in products)
