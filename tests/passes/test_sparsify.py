"""Sparsify: of each four neighbours two stay, those that matter; zeros outlive quantization."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.pipeline import graph_passes
from girih.compiler.recipe import Pruning, Recipe
from girih.dialects.arithmetic import unpack_groups
from girih.dialects.mfm.hollow import hollow, is_hollow
from girih.passes.base import Compilation
from girih.passes.calibrate import Calibrate
from girih.passes.quantize import Quantize
from girih.passes.sparsify import Sparsify
from girih.runtime.target import Sparsity, Target

X, Y = "tensor<40x64xf32>", "tensor<40x8xf32>"
TEXT = f"""
func.func @main(%a: {X}) -> {Y} {{
  %w = "mfm.parameter"() {{parameter = "w"}} : () -> tensor<8x64xf32>
  %x = "mfm.multiply_scalar"(%a) {{factor = 1.0 : f64}} : ({X}) -> {X}
  %0 = "mfm.linear"(%x, %w) {{operandSegmentSizes = array<i32: 1, 1, 0>}}
    : ({X}, tensor<8x64xf32>) -> {Y}
  return %0 : {Y}
}}
"""


def target() -> Target:
    small = Target.load("small")
    array = small.array.model_copy(update={"sparsity": Sparsity(keep=2, of=4)})
    return small.model_copy(update={"array": array})


def weights(scale: Any = 1.0, **options: Any) -> dict[str, Any]:
    """The weights after the pass, and after quantization where options of it are given."""
    random = np.random.default_rng(0)
    x = (random.standard_normal((40, 64)) * scale).astype(np.float32)
    w = random.standard_normal((8, 64)).astype(np.float32)
    compilation = Compilation({"w": w}, target(), {"main": [[x]]})
    with create_context(), ir.Location.unknown():
        module = ir.Module.parse(TEXT)
        Calibrate(correlations=True).run(module, compilation)
        Sparsify().run(module, compilation)
        if options:
            Calibrate(correlations=True).run(module, compilation)
            Quantize(**options).run(module, compilation)
        assert module.operation.verify()
    return compilation.parameters


def per_group(array: Any) -> Any:
    return (array != 0).reshape(len(array), -1, 4).sum(axis=2)


def test_two_of_four_stay_and_those_as_they_are() -> None:
    found = weights()
    dense, sparse = found["w"], found["w.sparse"]
    assert (per_group(sparse) == 2).all()
    assert np.array_equal(sparse[sparse != 0], dense[sparse != 0])


def test_inputs_count_by_their_size() -> None:
    """Two large channels of each four stay in every row, whatever the weights."""
    scale = np.tile([1e6, 1.0, 1.0, 1e6], 16)
    sparse = weights(scale)["w.sparse"]
    assert np.array_equal(sparse != 0, np.broadcast_to(scale > 1, sparse.shape))


@pytest.mark.parametrize("compensates", [False, True])
def test_zeros_outlive_four_bits(compensates: bool) -> None:
    """Errors of others are not made up for by weights that are not there."""
    found = weights(weights=4, compensates=compensates)
    packed = next(array for name, array in found.items() if name.endswith(".int4"))
    zero = found["w.sparse"] == 0
    assert (unpack_groups(packed)[zero] == 0).all()
    assert (unpack_groups(packed)[~zero] != 0).any()


def test_zeros_outlive_eight_bits() -> None:
    found = weights(weights=8)
    assert (found["w.sparse.int8"][found["w.sparse"] == 0] == 0).all()


@pytest.mark.parametrize("stored", ["bfloat16", "hollow"])
def test_how_a_weight_is_stored_stays(stored: str) -> None:
    """Nothing was observed: the largest weights stay. One that is not there has no zeros."""
    array = hollow((8, 64), np.dtype(np.float32))
    if stored == "bfloat16":
        array = np.random.default_rng(0).standard_normal((8, 64)).astype(ml_dtypes.bfloat16)
    compilation = Compilation({"w": array}, target())
    with create_context(), ir.Location.unknown():
        Sparsify().run(ir.Module.parse(TEXT), compilation)
    sparse = compilation.parameters["w.sparse"]
    assert sparse.dtype == array.dtype
    assert is_hollow(sparse) if stored == "hollow" else (per_group(sparse) == 2).all()


def test_a_recipe_looks_again_at_what_other_pruning_left() -> None:
    def names(*pruning: Pruning) -> list[str]:
        passes = graph_passes(Recipe(name="x", weights="float", pruning=pruning))
        return [each.name for each in passes if each.name in ("calibrate", "sparsify")]

    sparse, hidden = Pruning(sparsity=True), Pruning(hidden=0.5)
    assert names(sparse) == ["calibrate", "sparsify"]
    assert names(sparse, hidden) == ["calibrate", "calibrate", "sparsify"]


def test_more_may_not_stay_than_there_are() -> None:
    with pytest.raises(ValueError, match="expected keep below of, found 4 of 4"):
        Sparsity(keep=4, of=4)
