"""What the lowering refuses, and that parameters reach the compiled module under their names."""

from __future__ import annotations

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context
from girih.compiler.iree import compile_to_vmfb
from girih.passes.base import Compilation
from girih.passes.convert_mfm_to_linalg import ConvertMfmToLinalg
from girih.runtime.errors import GirihError
from girih.runtime.iree import IreeExecutor


def lowered(text: str) -> ir.Module:
    with create_context():
        module = ir.Module.parse(text)
    ConvertMfmToLinalg().run(module, Compilation())
    assert module.operation.verify()
    return module


def parameter(result: str, name: str, kind: str) -> str:
    return f'%{result} = "mfm.parameter"() {{parameter = "{name}"}} : () -> {kind}'


def test_names_that_are_no_symbols_keep_apart() -> None:
    names = ["a.b", "a b", "a/b", "ä", 'q"uote', "tab\t"]
    spelled = [name.replace('"', '\\"').replace("\t", "\\09") for name in names]
    loads = "\n".join(parameter(f"p{i}", name, "tensor<3xf32>") for i, name in enumerate(spelled))
    results = ", ".join(f"%p{i}" for i in range(len(names)))
    types = ", ".join(["tensor<3xf32>"] * len(names))
    module = lowered(f"func.func @f() -> ({types}) {{\n{loads}\nreturn {results} : {types}\n}}")
    weights = {name: np.full(3, i, np.float32) for i, name in enumerate(names)}
    found = IreeExecutor(compile_to_vmfb(module), weights).call("f")
    assert [array[0] for array in found] == list(range(len(names)))


def test_one_name_has_one_type() -> None:
    text = (
        "func.func @f() -> (tensor<3xf32>, tensor<4xf32>) {\n"
        + parameter("a", "w", "tensor<3xf32>")
        + "\n"
        + parameter("b", "w", "tensor<4xf32>")
        + "\nreturn %a, %b : tensor<3xf32>, tensor<4xf32>\n}"
    )
    with pytest.raises(GirihError, match="'w' is used as tensor<4xf32> and as tensor<3xf32>"):
        lowered(text)
