"""Builds single operations of the `mfm` dialect from their generic text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from torch_mlir import ir

from girih.compiler.context import create_context


@dataclass
class Operations:
    """Operations by name, operand types, result type and attributes, all as MLIR spells them."""

    context: ir.Context = field(default_factory=create_context)
    modules: list[ir.Module] = field(default_factory=list[ir.Module], repr=False)
    """Keeps alive what the operations point into."""

    def parse(self, name: str, operands: Sequence[str], result: str, attributes: str = "") -> Any:
        """The operation; raises `MLIRError` where its verifier refuses it."""
        types = [f"tensor<{operand}>" for operand in operands]
        names = [f"%a{index}" for index in range(len(types))]
        if name in _OPTIONAL_LAST:
            count = _OPTIONAL_LAST[name]
            sizes = [1] * (count - 1) + [int(len(operands) == count)]
            segments = f"operandSegmentSizes = array<i32: {', '.join(map(str, sizes))}>"
            attributes = f"{attributes}, {segments}" if attributes else segments
        arguments = ", ".join(f"{n}: {t}" for n, t in zip(names, types, strict=True))
        text = (
            f"func.func @f({arguments}) {{\n"
            f'  %r = "mfm.{name}"({", ".join(names)}) {{{attributes}}}'
            f" : ({', '.join(types)}) -> tensor<{result}>\n  return\n}}"
        )
        with self.context:
            module = ir.Module.parse(text)
        self.modules.append(module)
        return module.body.operations[0].regions[0].blocks[0].operations[0]

    def problems(
        self, name: str, operands: Sequence[str], result: str, attributes: str = ""
    ) -> list[str]:
        """What the verifier says, without the operation's name; nothing where it accepts."""
        try:
            self.parse(name, operands, result, attributes)
        except ir.MLIRError as error:
            return re.findall(rf"'mfm\.{name}' (.*)", str(error))
        return []

    def run(self, name: str, inputs: Sequence[Any], result: str, attributes: str = "") -> Any:
        """The operation's `reference()` on arrays; operand types are those of the arrays."""
        return self.of(name, inputs, result, attributes).reference(*inputs)

    def of(self, name: str, inputs: Sequence[Any], result: str, attributes: str = "") -> Any:
        """The operation on operands of the types of arrays."""
        return self.parse(name, [type_of(array) for array in inputs], result, attributes)


_OPTIONAL_LAST = {"linear": 3, "conv1d": 3, "attention": 4, "integer_attention": 4}
"""Operations whose last operand may be missing, and how many they have with it."""

_ELEMENTS = {"bool": "i1", "float32": "f32"} | {f"int{n}": f"i{n}" for n in (8, 16, 32, 64)}


def type_of(array: Any) -> str:
    """Type of an array, as it stands inside ``tensor<>``."""
    return spell(np.shape(array), _ELEMENTS[np.asarray(array).dtype.name])


def spell(sizes: Sequence[int], element: str) -> str:
    """``[2, 3], "f32"`` --> ``2x3xf32``."""
    return "x".join([*(str(size) for size in sizes), element])


@pytest.fixture(scope="session")
def operations() -> Operations:
    return Operations()
