"""A function of the graph as a PyTorch function, read once and run many times."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects.mfm import Operation, ParameterOp
from girih.dialects.mfm.parameter import widened
from girih.passes.differentiable.operations import form_of
from girih.passes.interpreter import run_in_torch
from girih.passes.statistics import STATISTICS
from girih.runtime.errors import CompilationError

Replace = Callable[[str, Tensor], Tensor]
"""The key of a value, as `calibrate` names it, and the value, to what stands in its place."""


class Weights(Mapping[str, Tensor]):
    """Arrays by name as tensors, over the same memory where PyTorch has their type.

    Narrow ones are widened when they are asked for, and go when nobody holds them any more.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: str) -> Tensor:
        return tensor_of(widened(self._arrays[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A tensor over an array's memory, which nobody writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))


@dataclass(frozen=True)
class _Step:
    run: Callable[..., Any]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    parameter: str | None
    key: str | None
    dead: tuple[int, ...]
    """Values that nothing reads any more."""


class TorchFunction:
    """One function of `mfm` operations, callable on tensors.

    noted: the attribute that holds the key of a value. parameters: the names of the weights that it
    reads.
    """

    def __init__(self, function: func.FuncOp, noted: str = STATISTICS) -> None:
        self.name: str = function.name.value
        block = function.entry_block
        numbers: dict[ir.Value, int] = {
            argument: index for index, argument in enumerate(block.arguments)
        }
        self._steps: list[_Step] = []
        self._returned: tuple[int, ...] = ()
        self._count = len(numbers)
        for op in block.operations:
            operands = tuple(numbers[operand] for operand in op.operands)
            if isinstance(op, func.ReturnOp):
                self._returned = operands
                break
            for result in op.results:
                numbers[result] = len(numbers)
            self._steps.append(
                _step(op, operands, tuple(numbers[each] for each in op.results), noted)
            )
        self.parameters = frozenset(
            step.parameter for step in self._steps if step.parameter is not None
        )
        self._mark_dead()

    def _mark_dead(self) -> None:
        needed = set(self._returned)
        for index in reversed(range(len(self._steps))):
            step = self._steps[index]
            dead = tuple({*step.operands, *step.results} - needed)
            needed.update(step.operands)
            self._steps[index] = _Step(
                step.run, step.operands, step.results, step.parameter, step.key, dead
            )

    def constants(self, parameters: Mapping[str, Tensor]) -> dict[int, Any]:
        """What depends on weights alone, for calls to come with the same ones."""
        values: dict[int, Any] = {}
        for step in self._steps:
            if step.parameter is not None:
                values[step.results[0]] = parameters[step.parameter]
            elif len(step.results) == 1 and step.operands and values.keys() >= {*step.operands}:
                values[step.results[0]] = step.run(*(values[each] for each in step.operands))
        return values

    def __call__(
        self,
        inputs: Sequence[Tensor],
        parameters: Mapping[str, Tensor],
        replace: Replace | None = None,
        constants: Mapping[int, Any] = MappingProxyType({}),
    ) -> list[Tensor]:
        """Results for these inputs and weights; `replace` may put others in place of values."""
        values: dict[int, Any] = {**constants, **dict(enumerate(inputs))}
        for step in self._steps:
            if constants and step.results and step.results[0] in constants:
                result = values[step.results[0]]
            elif step.parameter is not None:
                result = parameters[step.parameter]
            else:
                result = step.run(*(values[operand] for operand in step.operands))
            if len(step.results) != 1:
                values.update(zip(step.results, result, strict=True))
            elif replace is None or step.key is None:
                values[step.results[0]] = result
            else:
                values[step.results[0]] = replace(step.key, result)
            for number in step.dead:
                del values[number]
        return [values[number] for number in self._returned]


def _step(op: ir.OpView, operands: tuple[int, ...], results: tuple[int, ...], noted: str) -> _Step:
    if isinstance(op, ParameterOp):
        return _Step(_no_run, (), results, op.parameter.value, None, ())
    key = None
    if noted in op.operation.attributes:
        key = op.operation.attributes[noted].value
    run = form_of(op) or _by_reference(op) if isinstance(op, Operation) else _in_torch(op)
    return _Step(run, operands, results, None, key, ())


def _no_run() -> None:
    raise AssertionError("a parameter is looked up, not computed")


def _by_reference(op: Operation) -> Callable[..., Tensor]:
    name = op.operation.name

    def run(*operands: Tensor) -> Tensor:
        if any(operand.requires_grad for operand in operands):
            raise CompilationError(f"'{name}' has no gradient here")
        result = op.reference(*(operand.numpy() for operand in operands))
        return torch.from_numpy(np.array(result))

    return run


def _in_torch(op: ir.OpView) -> Callable[..., Any]:
    match op.operation.name:
        case "torch_c.from_builtin_tensor":
            return lambda x: x
        case "torch_c.to_builtin_tensor":
            return lambda x: x.contiguous()
        case _:
            return lambda *operands: run_in_torch(op, list(operands))
