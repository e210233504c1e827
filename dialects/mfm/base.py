"""The `mfm` dialect: multimodal foundation models as a small, closed set of tensor operations.

Every operation states in one place its fields, what its verifier demands, and its meaning: a
NumPy `reference()`, which defines it. Tensors are builtin ranked tensors of static shape;
quantized ones are plain i8, i16 or i32 whose scale is known to the compiler, not to the type.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from torch_mlir import ir
from torch_mlir.dialects import ext

Array = NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "i1": np.dtype(np.bool_),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}


NARROW = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
"""Element types in which weights may be stored; their values are computed with as f32."""


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether an element type is one that is only stored."""
    return dtype in NARROW


class BooleanAttribute(ir.Attribute):
    """Constraint for a field that holds 0 or 1, of any integer width.

    Build it as i64: the op classes of `torch_mlir.dialects.ext` take a false i1 for a missing one.
    """

    attr_name = "builtin.integer"


class IntegersAttribute(ir.Attribute):
    """Constraint for a field that holds a dense array of i64."""

    attr_name = "builtin.dense_array"


class Mfm(ext.Dialect, name="mfm"):
    """Graph level: tensors, no memory."""


def shape(value: ir.Value) -> tuple[int, ...]:
    """Static shape of a tensor value."""
    return tuple(value.type.shape)


def element(value: ir.Value) -> str:
    """Element type of a tensor value as MLIR spells it: ``f32``, ``i8``, ..."""
    return str(value.type.element_type)


def numpy_dtype(value: ir.Value) -> np.dtype[Any]:
    """NumPy dtype of a tensor value's elements."""
    return DTYPES[element(value)]


class Operation(Mfm.Operation):
    """Base of all `mfm` operations: verification by `check`, meaning by `reference`."""

    least_axes = dict[str, int]()
    """Lowest rank of the operands and results, by name, whose shape `check` takes apart."""

    def check(self) -> Iterator[str]:
        """Yield a sentence, what was found and what was expected, for each broken rule."""
        yield from ()

    def verify_invariants(self) -> bool:
        """Report every broken rule at the operation's location; MLIR calls this."""
        # `check` may rely on the form: it reads fields by name, and shapes by axis.
        problems = list(self._check_form()) or list(self.check())
        for problem in problems:
            self.location.emit_error(f"'{self.OPERATION_NAME}' {problem}")
        return not problems

    def _check_form(self) -> Iterator[str]:
        attributes = self.operation.attributes
        needed = [field.name for field in self._fields if isinstance(field, ext.AttributeDef)]
        if self._ODS_OPERAND_SEGMENTS is not None:
            needed.append("operandSegmentSizes")
        for name in needed:
            if name not in attributes:
                yield f"lacks the attribute {name}"
        for value in (*self.operation.operands, *self.operation.results):
            if not (isinstance(value.type, ir.RankedTensorType) and value.type.has_static_shape):
                yield f"has the type {value.type}, expected a tensor of static shape"
                return
        if self._ODS_OPERAND_SEGMENTS is None or "operandSegmentSizes" in attributes:
            for name, least in self.least_axes.items():
                yield from expect_axes(name, getattr(self, name), least)

    def reference(self, *inputs: Array) -> Array:
        """Meaning of the operation on NumPy arrays, one per operand, in order."""
        raise TypeError(f"'{self.OPERATION_NAME}' has no reference of its own")


def expect_shape(name: str, value: ir.Value, expected: Sequence[int]) -> Iterator[str]:
    """Yield a problem unless the value has the expected shape."""
    if shape(value) != tuple(expected):
        yield f"{name} has shape {list(shape(value))}, expected {list(expected)}"


def expect_element(name: str, value: ir.Value, *expected: str) -> Iterator[str]:
    """Yield a problem unless the value's elements are of one of the expected types."""
    if element(value) not in expected:
        yield f"{name} has element type {element(value)}, expected {' or '.join(expected)}"


def expect_rank(name: str, value: ir.Value, expected: int) -> bool:
    """Whether the rank is as expected; `rank_problem` says it when not."""
    return len(shape(value)) == expected


def rank_problem(name: str, value: ir.Value, expected: int) -> str:
    """Sentence for a wrong rank."""
    return f"{name} has rank {len(shape(value))}, expected {expected}"


def expect_axes(name: str, value: ir.Value, least: int) -> Iterator[str]:
    """Yield a problem unless the value has so many axes at least."""
    if len(shape(value)) < least:
        yield f"{name} has rank {len(shape(value))}, expected at least {least}"


def expect_broadcast(name: str, value: ir.Value, target: Sequence[int]) -> Iterator[str]:
    """Yield a problem unless the value broadcasts to the target shape as NumPy does."""
    own = shape(value)
    padded = (1,) * (len(target) - len(own)) + own
    fits = len(own) <= len(target) and all(a in (1, b) for a, b in zip(padded, target, strict=True))
    if not fits:
        yield f"{name} of shape {list(own)} does not broadcast to {list(target)}"


def expect_shift(name: str, value: int) -> Iterator[str]:
    """Yield a problem unless a rescale shift is in 1 .. 62."""
    if not 1 <= value <= 62:
        yield f"{name} is {value}, expected 1 to 62"
