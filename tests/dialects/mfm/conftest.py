"""Parity: an operation's `reference()` against the same operation compiled by IREE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.compiler.context import create_context
from girih.compiler.iree import compile_to_vmfb
from girih.passes.base import Compilation
from girih.passes.convert_mfm_to_linalg import ConvertMfmToLinalg
from girih.runtime.iree import IreeExecutor

Array = NDArray[Any]
Build = Callable[..., Any]

_ELEMENTS = {"bool": "i1", "float32": "f32"} | {f"int{n}": f"i{n}" for n in (8, 16, 32, 64)}


def tensor_type(sizes: Sequence[int], dtype: Any) -> ir.Type:
    element = ir.Type.parse(_ELEMENTS[np.dtype(dtype).name])
    return ir.RankedTensorType.get(list(sizes), element)


def integer(value: int) -> ir.Attribute:
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), int(value))


def real(value: float) -> ir.Attribute:
    return ir.FloatAttr.get(ir.F64Type.get(), float(value))


@dataclass
class _Case:
    name: str
    inputs: Sequence[Array]
    expected: Array
    tolerance: float


@dataclass
class Parity:
    """Cases of operations, one function each, that are compiled together.

    Compiling costs about half a second whatever its size: many cases in one module is what keeps
    the tests quick.
    """

    cases: list[_Case] = field(default_factory=list[_Case])

    def __post_init__(self) -> None:
        self.context = create_context()
        with self.context, ir.Location.unknown():
            self.module = ir.Module.create()

    def add(
        self,
        build: Build,
        *inputs: Array,
        expected: Array | None = None,
        tolerance: float = 0.0,
    ) -> None:
        """Add one operation: `build` gets a value per input array, in the operands' order.

        Without `expected`, that is what the operation's `reference()` says.
        """
        name = f"case_{len(self.cases)}"
        with self.context, ir.Location.unknown():
            types = [tensor_type(array.shape, array.dtype) for array in inputs]
            with ir.InsertionPoint(self.module.body):
                function = func.FuncOp(name, (types, []))
            block = function.add_entry_block()
            with ir.InsertionPoint(block):
                op = build(*block.arguments)
                func.ReturnOp([op.result])
            kind = ir.FunctionType.get(types, [op.result.type])
            function.attributes["function_type"] = ir.TypeAttr.get(kind)
            assert op.operation.verify()
            if expected is None:
                with np.errstate(over="ignore", invalid="ignore"):
                    expected = op.reference(*inputs)
        assert expected is not None
        self.cases.append(_Case(name, inputs, expected, tolerance))

    def check(self) -> None:
        """Compile, run every case and compare."""
        with self.context:
            ConvertMfmToLinalg().run(self.module, Compilation())
            assert self.module.operation.verify()
            executor = IreeExecutor(compile_to_vmfb(self.module, name="parity"))
        for case in self.cases:
            (found,) = executor.call(case.name, *case.inputs)
            label = f"{case.name}: {[(a.dtype.name, a.shape) for a in case.inputs]}"
            assert found.dtype == case.expected.dtype, label
            if case.tolerance == 0:
                np.testing.assert_array_equal(found, case.expected, err_msg=label)
            else:
                np.testing.assert_allclose(
                    found, case.expected, rtol=case.tolerance, atol=case.tolerance, err_msg=label
                )


@dataclass(frozen=True)
class Tools:
    """What a parity test needs to build operations."""

    parity: type[Parity] = Parity
    tensor_type: Callable[..., ir.Type] = tensor_type
    integer: Callable[[int], ir.Attribute] = integer
    real: Callable[[float], ir.Attribute] = real


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()
