"""What an entry point takes and gives: shapes and dtypes at the door, integers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from girih.runtime.errors import InputError

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """One argument or result.

    `dtype` is what the caller sees; `stored` what the compiled program works on. Where they
    differ, stored integers times `scale` are the caller's float values. `state` names a tensor
    that a session keeps on the device between calls.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str
    scale: float | None = None
    state: str | None = None

    def store(self, value: Any) -> Array:
        """The caller's value as the program takes it.

        ``clamp(round_half_even(value * float32(1 / scale)))`` for quantized arguments. An array
        that already has the stored dtype passes as it is. Raises `InputError` for another shape
        or dtype.
        """
        if hasattr(value, "detach"):  # a tensor; NumPy has no bfloat16
            value = value.detach()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        array = np.asarray(value)
        if array.shape != self.shape:
            raise InputError(
                f"argument {self.name!r} has shape {list(array.shape)}, expected {list(self.shape)}"
            )
        if array.dtype == np.dtype(self.stored):
            return np.ascontiguousarray(array)
        if not np.can_cast(array.dtype, np.dtype(self.dtype), "same_kind"):
            raise InputError(
                f"argument {self.name!r} has dtype {array.dtype}, expected {self.dtype}"
            )
        if self.scale is None:
            return np.ascontiguousarray(array.astype(self.dtype))
        limits = np.iinfo(np.dtype(self.stored))
        scaled = np.rint(array.astype(np.float32) * np.float32(1 / self.scale))
        clamped = np.clip(np.nan_to_num(scaled, nan=0.0), limits.min, limits.max)
        return np.ascontiguousarray(clamped.astype(self.stored))

    def restore(self, value: Array) -> Array:
        """A stored result as the caller sees it."""
        if self.scale is None:
            return value
        return value.astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class Signature:
    """Arguments and results of an entry point, in order."""

    arguments: tuple[TensorSpec, ...]
    results: tuple[TensorSpec, ...]

    def store(self, values: Sequence[Any], *, states: bool) -> list[Array]:
        """All of the caller's arguments as stored; `states` says whether states are among them."""
        expected = [spec for spec in self.arguments if states or spec.state is None]
        if len(values) != len(expected):
            names = ", ".join(spec.name for spec in expected)
            raise InputError(f"found {len(values)} arguments, expected {len(expected)}: {names}")
        return [spec.store(value) for spec, value in zip(expected, values, strict=True)]

    def restore(
        self, values: Sequence[Array], *, states: bool, integers: bool
    ) -> tuple[Array, ...]:
        """Results as the caller sees them, or the stored integers."""
        specs = [spec for spec in self.results if states or spec.state is None]
        return tuple(
            value if integers else spec.restore(value)
            for spec, value in zip(specs, values, strict=True)
        )
