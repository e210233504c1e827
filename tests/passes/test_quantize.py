"""Quantize: integers in place of floats, close to them, with shared weights and shared scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.exporting import export
from girih.compiler.importing import Importer
from girih.dialects import mfm
from girih.dialects.arithmetic import scale_to_multiplier
from girih.dialects.mfm.base import element
from girih.passes.base import Compilation, Pass
from girih.passes.boolean_masks import BooleanMasks
from girih.passes.calibrate import Calibrate
from girih.passes.convert_torch_to_mfm import ConvertTorchToMfm
from girih.passes.fold_attention_scale import FoldAttentionScale
from girih.passes.fold_constants import FoldConstants
from girih.passes.interpreter import function_named, interpret
from girih.passes.quantization import weights
from girih.passes.quantization.function import SCALE
from girih.passes.quantization.plan import Group
from girih.passes.quantize import Quantize
from girih.passes.simplify import Simplify
from girih.passes.states import STATE
from girih.runtime.errors import CompilationError


class Call(nn.Module):
    """A module that is a function, with the parts that it calls."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.parts)


class Block(nn.Module):
    """One layer of a transformer, as Whisper's encoder has them."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.before_mlp = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.before_attention(x)
        parts = (self.split(part(y)) for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


def normal(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


class Quantized:
    """Entries through the graph passes; what they compute, as the caller sees it."""

    def __init__(
        self,
        entries: dict[str, tuple[nn.Module, list[torch.Tensor]]],
        first: Sequence[Pass] = (),
        **options: Any,
    ):
        calibration = {
            name: [[value.numpy() for value in inputs]] for name, (_, inputs) in entries.items()
        }
        self.context = create_context()
        with self.context, ir.Location.unknown():
            self.module = ir.Module.create()
            importer = Importer(self.module)
            for name, (module, inputs) in entries.items():
                importer.import_entry(name, export(module, inputs).program)
            self.compilation = Compilation(importer.parameters, calibration=calibration)
            self.mark()
            passes = [ConvertTorchToMfm(), FoldConstants(), Simplify(), FoldAttentionScale()]
            for each in (*passes, *first, Calibrate(), Quantize(**options)):
                each.run(self.module, self.compilation)
                assert self.module.operation.verify()

    def mark(self) -> None:
        """Name states, in a subclass."""

    def operations(self, kind: type, entry: str = "main") -> list[Any]:
        block = function_named(self.module, entry).entry_block
        return [op for op in block.operations if isinstance(op, kind)]

    def names(self, entry: str = "main") -> set[str]:
        block = function_named(self.module, entry).entry_block
        return {op.operation.name for op in block.operations}

    def scales(self, side: str, entry: str = "main") -> list[float | None]:
        attributes = function_named(self.module, entry).attributes[side]
        return [item[SCALE].value if SCALE in item else None for item in attributes]

    def run(self, *inputs: torch.Tensor, entry: str = "main") -> list[Any]:
        function = function_named(self.module, entry)
        arrays: list[Any] = []
        arguments = function.entry_block.arguments
        for value, scale, argument in zip(
            inputs, self.scales("arg_attrs", entry), arguments, strict=True
        ):
            array = value.numpy()
            if scale is not None:
                limits = np.iinfo({"i8": np.int8, "i16": np.int16}[element(argument)])
                array = np.clip(np.rint(array / scale), limits.min, limits.max).astype(limits.dtype)
            arrays.append(array)
        results = interpret(function, arrays, self.compilation.parameters)
        return [
            array if scale is None else array * scale
            for array, scale in zip(results, self.scales("res_attrs", entry), strict=True)
        ]


def quantize(module: nn.Module, *inputs: torch.Tensor, **options: Any) -> Quantized:
    return Quantized({"main": (module, list(inputs))}, **options)


def decibels(exact: torch.Tensor, found: Any) -> float:
    """Signal to quantization noise."""
    signal = exact.detach().numpy().astype(np.float64)
    return float(10 * np.log10((signal**2).mean() / ((signal - found) ** 2).mean()))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def test_a_transformer_block_is_integer_and_close() -> None:
    block, x = seeded(Block), normal(1, 50, 32)
    quantized = quantize(block, x)
    floats = {"mfm.linear", "mfm.gelu", "mfm.layer_norm", "mfm.attention", "mfm.add"}
    assert not quantized.names() & (floats | {"mfm.quantize", "mfm.dequantize"})
    assert decibels(block(x), quantized.run(x)[0]) > 30
    # On data that calibration did not see, too.
    other = normal(1, 50, 32, seed=1) * 0.8
    assert decibels(block(other), quantized.run(other)[0]) > 20


def test_the_residual_is_sixteen_bits_wide() -> None:
    """What is added layer after layer, and read by layer_norm, keeps its precision."""
    quantized = quantize(seeded(Block), normal(1, 50, 32))
    adds = quantized.operations(mfm.IntegerAddOp)
    assert len(adds) == 2
    assert {element(op.result) for op in adds} == {"i16"}
    assert {element(op.x) for op in quantized.operations(mfm.IntegerLinearOp)} == {"i8"}
    assert {element(op.x) for op in quantized.operations(mfm.IntegerGeluOp)} == {"i16"}
    assert {element(op.x) for op in quantized.operations(mfm.IntegerLayerNormOp)} == {"i16"}


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 0.5, 0.9])
def test_smoothing_keeps_the_function(smoothing: float) -> None:
    block, x = seeded(Block), normal(1, 50, 32)
    quantized = quantize(block, x, smoothing=smoothing)
    assert decibels(block(x), quantized.run(x)[0]) > 30


def test_smoothing_helps_where_one_channel_is_large() -> None:
    """The reason for it: an outlier channel would leave the others few bits."""
    block, x = seeded(Block), normal(1, 50, 32)
    with torch.no_grad():
        block.before_mlp.weight[3] = 60.0
        block.up.weight[:, 3] /= 60.0
    plain, smooth = (quantize(block, x, smoothing=each).run(x)[0] for each in (0.0, 0.5))
    assert decibels(block(x), smooth) > decibels(block(x), plain) + 3


def test_convolutions_are_integer_and_close() -> None:
    """Smoothed too: each tap of the second convolution sees the same channels."""
    module = Call(
        lambda x, a, b, norm: norm(F.gelu(b(F.gelu(a(x)))).transpose(1, 2)),
        *seeded(
            lambda: nn.ModuleList(
                [nn.Conv1d(8, 16, 3, padding=1), nn.Conv1d(16, 16, 3, stride=2, padding=1)]
                + [nn.LayerNorm(16)]
            )
        ),
    ).eval()
    x = normal(1, 8, 40)
    quantized = quantize(module, x)
    assert "mfm.conv1d" not in quantized.names()
    assert decibels(module(x), quantized.run(x)[0]) > 30


class Tied(nn.Module):
    """Embedding and logits of one weight, as language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return F.linear(self.norm(self.table(tokens)), self.table.weight)


def test_a_tied_weight_is_one_array_of_integers() -> None:
    """And it is not smoothed, which would spoil the embedding."""
    module, tokens = seeded(Tied), torch.arange(40)[None]
    quantized = quantize(module, tokens)
    (lookup,) = quantized.operations(mfm.IntegerEmbeddingOp)
    (logits,) = quantized.operations(mfm.IntegerLinearOp)
    assert lookup.table.owner.opview.parameter == logits.weight.owner.opview.parameter
    name = logits.weight.owner.opview.parameter.value
    assert quantized.compilation.parameters[name].dtype == np.int8
    assert decibels(module(tokens), quantized.run(tokens)[0]) > 30


def test_a_table_that_is_only_looked_up_keeps_sixteen_bits() -> None:
    module = Call(lambda t, m, n: n(m(t)), nn.Embedding(40, 16), nn.LayerNorm(16))
    quantized = quantize(module, torch.arange(40)[None])
    (lookup,) = quantized.operations(mfm.EmbeddingOp)
    assert element(lookup.table) == "i16"


def test_entries_share_integer_weights() -> None:
    shared = seeded(lambda: nn.Linear(16, 16, bias=False))
    x = normal(1, 9, 16)
    both = Quantized({"one": (shared, [x]), "two": (Call(lambda y, m: m(y), shared), [3 * x])})
    names = {
        both.operations(mfm.IntegerLinearOp, entry)[0].weight.owner.opview.parameter.value
        for entry in ("one", "two")
    }
    assert len(names) == 1
    # Each entry has its own scale all the same.
    assert decibels(shared(x), both.run(x, entry="one")[0]) > 30
    assert decibels(shared(3 * x), both.run(3 * x, entry="two")[0]) > 30


class WithState(Quantized):
    """@write puts what @read takes: a cache of keys."""

    def mark(self) -> None:
        for entry, side, names in (
            ("write", "res_attrs", ["cache"]),
            ("read", "arg_attrs", ["cache", None]),
        ):
            function_named(self.module, entry).attributes[side] = ir.ArrayAttr.get(
                [
                    ir.DictAttr.get({} if name is None else {STATE: ir.StringAttr.get(name)})
                    for name in names
                ]
            )


class WithCache(Quantized):
    """The first argument is a state, and so is the first result."""

    def mark(self) -> None:
        for side, others in (("arg_attrs", 2), ("res_attrs", 1)):
            state = ir.DictAttr.get({STATE: ir.StringAttr.get("cache")})
            function_named(self.module, "main").attributes[side] = ir.ArrayAttr.get(
                [state, *[ir.DictAttr.get({})] * others]
            )


def test_a_state_has_one_scale_in_all_functions() -> None:
    """The larger of the two ranges that calibration saw."""
    write, read = seeded(lambda: nn.Linear(8, 8)), seeded(lambda: nn.Linear(8, 8))
    x, cache = normal(1, 5, 8), 4 * normal(1, 5, 8, seed=3)
    both = WithState(
        {
            "write": (write, [x]),
            "read": (Call(lambda c, y, m: m(c) + m(y), read), [cache, x]),
        }
    )
    (written,), (taken, _) = both.scales("res_attrs", "write"), both.scales("arg_attrs", "read")
    assert written == taken
    assert written == pytest.approx(float(cache.abs().max()) / 127)
    names = both.names("write")
    assert "mfm.rescale" not in names


def test_a_cache_its_rows_and_the_updated_cache_have_one_scale() -> None:
    def step(cache: torch.Tensor, position: torch.Tensor, x: torch.Tensor, m: nn.Module) -> Any:
        updated = cache.index_copy(1, position, m(x))
        return updated, F.scaled_dot_product_attention(
            *[updated.unflatten(2, (2, 4)).transpose(1, 2)] * 3
        )

    module = Call(step, nn.Linear(8, 8))
    inputs = [normal(1, 6, 8), torch.tensor([2]), 5 * normal(1, 1, 8)]
    quantized = quantize(module, *inputs)
    (update,) = quantized.operations(mfm.CacheUpdateOp)
    # Sixteen bits, for the caller reads it too.
    assert {element(v) for v in (update.cache, update.rows, update.result)} == {"i16"}
    assert quantized.scales("arg_attrs")[0] == quantized.scales("res_attrs")[0]
    for exact, found in zip(module(*inputs), quantized.run(*inputs), strict=True):
        assert decibels(exact, found) > 30


def test_a_cache_that_attention_alone_reads_has_8_bits() -> None:
    """As a decoder's is: a state of new keys or values that no caller looks at."""

    def step(cache: torch.Tensor, position: torch.Tensor, x: torch.Tensor, m: nn.Module) -> Any:
        updated = cache.index_copy(1, position, m(x))
        heads = updated.unflatten(2, (2, 4)).transpose(1, 2)
        return updated, F.scaled_dot_product_attention(heads, heads, heads)

    module = Call(step, nn.Linear(8, 8))
    quantized = WithCache({"main": (module, [normal(1, 6, 8), torch.tensor([2]), normal(1, 1, 8)])})
    (update,) = quantized.operations(mfm.CacheUpdateOp)
    assert {element(v) for v in (update.cache, update.rows, update.result)} == {"i8"}
    assert quantized.scales("arg_attrs")[0] == quantized.scales("res_attrs")[0]


def test_what_stays_float_has_seams() -> None:
    """An unknown operation in the middle: dequantize before it, quantize after it."""
    module = Call(
        lambda x, a, b: b(torch.atan(a(x))), *seeded(lambda: nn.ModuleList([nn.Linear(8, 8)] * 2))
    )
    x = normal(1, 9, 8)
    quantized = quantize(module, x)
    assert {"mfm.dequantize", "torch.aten.atan"} <= quantized.names()
    assert decibels(module(x), quantized.run(x)[0]) > 25


def test_a_weight_that_is_computed_stays_float() -> None:
    module, inputs = Call(lambda x, w: F.linear(x, w)), [normal(1, 5, 8), normal(4, 8, seed=2)]
    quantized = quantize(module, *inputs)
    assert "mfm.linear" in quantized.names()
    assert decibels(module(*inputs), quantized.run(*inputs)[0]) > 30


def test_float_operations_in_a_row_have_no_seam_between_them() -> None:
    module = Call(lambda x, m: torch.sin(0.5 * torch.tanh(m(x))), seeded(lambda: nn.Linear(8, 8)))
    x = normal(1, 9, 8)
    quantized = quantize(module, x)
    assert len(quantized.operations(mfm.DequantizeOp)) == 1
    assert quantized.operations(mfm.QuantizeOp) == []
    assert quantized.scales("res_attrs") == [None]
    assert decibels(module(x), quantized.run(x)[0]) > 30


def test_attention_over_what_is_known_now() -> None:
    """Learned queries (of a Q-Former, a pooling head) are weights: nothing is calibrated there."""
    learned = normal(1, 2, 3, 8, seed=5)
    module = Call(
        lambda x, m: F.scaled_dot_product_attention(
            learned,
            m(x).unflatten(-1, (2, 8)).transpose(1, 2),
            x.unflatten(-1, (2, 8)).transpose(1, 2),
        ),
        seeded(lambda: nn.Linear(16, 16)),
    )
    x = normal(1, 9, 16)
    quantized = quantize(module, x)
    assert "mfm.attention" not in quantized.names()
    assert decibels(module(x), quantized.run(x)[0]) > 25


@pytest.mark.parametrize("left", [False, True])
def test_a_product_with_a_batch_of_constants(left: bool) -> None:
    """DeBERTa's positions are known at compile time, one table for each head."""
    table = normal(2, 8, 8, seed=5)
    module = Call(
        lambda x, m: table @ m(x) if left else m(x) @ table, seeded(lambda: nn.Linear(8, 8))
    )
    x = normal(2, 8, 8)
    quantized = quantize(module, x)
    assert "mfm.matmul" not in quantized.names()
    assert decibels(module(x), quantized.run(x)[0]) > 25


def test_what_hides_a_score_does_not_share_its_scale() -> None:
    """Attention written out, scores capped as Gemma 2 has them, and a mask that is added."""

    def attend(x: torch.Tensor, bias: torch.Tensor, m: nn.Module) -> torch.Tensor:
        hidden = torch.full((9, 9), torch.finfo(torch.float32).min).triu(1)
        scores = torch.tanh(m(x) @ x.transpose(1, 2) / 20) * 20 + (bias + hidden)
        return torch.softmax(scores, -1) @ x

    module = Call(attend, seeded(lambda: nn.Linear(16, 16)))
    inputs = [normal(1, 9, 16), 0.3 * normal(9, 9, seed=2)]
    quantized = quantize(module, *inputs, first=[BooleanMasks()])
    assert decibels(module(*inputs), quantized.run(*inputs)[0]) > 25


def test_a_layer_norm_of_computed_scales_stays_float_and_is_not_smoothed() -> None:
    module = Call(
        lambda x, g, b, m: m(F.layer_norm(x, (8,), torch.exp(g), b)),
        seeded(lambda: nn.Linear(8, 8)),
    )
    inputs = [normal(1, 9, 8), normal(8, seed=1), normal(8, seed=2)]
    quantized = quantize(module, *inputs)
    assert "mfm.layer_norm" in quantized.names()
    assert decibels(module(*inputs), quantized.run(*inputs)[0]) > 30


def test_integers_pass_through() -> None:
    """Tokens are arguments without a scale."""
    quantized = quantize(seeded(Tied), torch.arange(40)[None])
    assert quantized.scales("arg_attrs") == [None]


def test_a_value_that_is_always_zero() -> None:
    """No range at all: nothing divides by it, and the result is the rest of the sum."""
    module = Call(lambda x, y, m: m(x) + y, seeded(lambda: nn.Linear(8, 8, bias=False)))
    x, y = torch.zeros(1, 5, 8), normal(1, 5, 8)
    with np.errstate(all="raise", under="ignore"):
        quantized = quantize(module, x, y)
        assert decibels(module(x, y), quantized.run(x, y)[0]) > 30


def test_terms_that_cancel_give_zero() -> None:
    """The sum's range is so far below its terms' that the factor between them is bounded."""
    module = Call(lambda x, y: x + y)
    x = 100 * normal(1, 5, 8)
    quantized = quantize(module, x, -x)
    assert np.abs(quantized.run(x, -x)[0]).max() < 0.02


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("size", [1e-4, 1e-9])
def test_a_norm_of_values_far_below_its_epsilon(
    kind: Callable[..., nn.Module], size: float
) -> None:
    """Such a norm is almost linear: its unit must not be so small that epsilon overflows."""
    norm, x = kind(32, eps=1e-5), normal(1, 8, 32) * size
    found = quantize(norm, x).run(x)[0]
    expected = norm(x).detach().numpy()
    assert np.abs(found - expected).max() < 0.01 * max(np.abs(expected).max(), 1e-3)


def test_a_constant_is_negated_at_compile_time() -> None:
    """x - 0.5 --> one integer_add; its -0.5 needs no product with -1."""
    x = normal(4, 16)
    quantized = quantize(Call(lambda x: x - 0.5), x)
    assert not quantized.operations(mfm.IntegerMultiplyOp)
    assert np.abs(quantized.run(x)[0] - (x - 0.5).numpy()).max() < 1e-3


def test_a_number_without_axes_is_negated() -> None:
    x, number = normal(4, 16), torch.tensor(0.7)
    quantized = quantize(Call(lambda x, number: x - number), x, number)
    assert np.abs(quantized.run(x, number)[0] - (x - number).numpy()).max() < 1e-2


def test_without_ranges_it_is_refused() -> None:
    with create_context():
        module = ir.Module.parse("func.func @f() { return }")
    with pytest.raises(CompilationError, match="run the calibrate pass before it"):
        Quantize().run(module, Compilation())


# ---- weights as integers ----


def test_rows_are_quantized_to_their_own_range() -> None:
    weight = np.array([[1.0, -2.0], [0.01, 0.005], [0.0, 0.0]])
    integers, scales = weights.quantize_rows(weight, None, 1.0)
    assert integers.tolist() == [[64, -127], [127, 64], [0, 0]]
    np.testing.assert_allclose(integers * scales[:, None], weight, atol=scales[:, None].max() / 2)


def test_a_large_bias_widens_the_scale() -> None:
    """So that in its units the bias stays within 2^30."""
    weight, bias, scale = np.array([[1e-9]]), np.array([5.0]), 0.01
    _, scales = weights.quantize_rows(weight, bias, scale)
    parameters = weights.linear_parameters(scales, bias, group(scale * 127), group(5.0))
    assert 2**29 < parameters[0, 0] <= 2**30


def group(maximum: float, bits: int = 8) -> Group:
    return Group(maximum, {bits}, {bits})


def test_multipliers_are_scale_to_multiplier_for_arrays() -> None:
    factors = 2.0 ** np.random.default_rng(0).uniform(-40, 29, 3000)
    factors = np.concatenate([factors, 2.0 ** np.arange(-40, 29), [np.nextafter(1.0, 0)]])
    expected = [scale_to_multiplier(float(factor)) for factor in factors]
    assert np.array(weights.multipliers(factors)).T.tolist() == [list(pair) for pair in expected]


@pytest.mark.parametrize("ratio", [1e-6, 0.5, 1.0, 7.0, 1e4])
def test_an_additions_multipliers_share_a_shift(ratio: float) -> None:
    first, second, shift = weights.add_multipliers(group(1.0, 16), group(ratio, 16), group(2.0, 16))
    assert 0 <= first < 2**31
    assert 0 <= second < 2**31
    assert 1 <= shift <= 62
    assert max(first, second) >= 2**29
    np.testing.assert_allclose(first * 2.0**-shift, 0.5, atol=2.0**-shift)
    np.testing.assert_allclose(second * 2.0**-shift, ratio / 2, atol=2.0**-shift)


@pytest.mark.parametrize("gamma", [0.0, 1e-6, 1.0, 1e4])
@pytest.mark.parametrize("beta", [0.0, 1.0, 1e5])
def test_layer_norm_parameters_fit_int32(gamma: float, beta: float) -> None:
    target = group(max(gamma * 4 + beta, 1e-3))
    (scales, offsets), shift = weights.layer_norm_parameters(
        np.full(3, gamma), np.full(3, beta), target
    )
    assert 1 <= shift <= 46
    fine = target.scale / 1000
    np.testing.assert_allclose(
        scales * 2.0 ** (16 - shift) * target.scale, gamma, rtol=1e-3, atol=fine
    )
    np.testing.assert_allclose(
        offsets * 2.0 ** (8 - shift) * target.scale, beta, rtol=1e-3, atol=fine
    )
