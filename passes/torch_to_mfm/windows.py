"""Windows of a convolution or a pooling, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch_mlir import ir

from girih.dialects.mfm import PatchesOp
from girih.dialects.mfm.base import shape
from girih.dialects.mfm.patches import window_counts
from girih.passes.torch_to_mfm.assembly import sliced
from girih.passes.torch_to_mfm.rewriter import NotConvertibleError, Rewriter, element_count


@dataclass(frozen=True)
class Window:
    """Kernel, stride and dilation per axis, and the zeros before (`low`) and after (`high`)."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def tiles(self) -> bool:
        """Whether windows lie side by side, with nothing around them."""
        return self.kernel == self.stride and not any((*self.low, *self.high)) and self._is_dense

    @property
    def _is_dense(self) -> bool:
        pairs = zip(self.kernel, self.dilation, strict=True)
        return all(kernel == 1 or dilation == 1 for kernel, dilation in pairs)

    def counts(self, sizes: Sequence[int]) -> list[int]:
        """Number of windows along each axis; refuses a window that is larger than the tensor."""
        if self.low != self.high:
            raise NotConvertibleError("padding that differs between the sides has no mfm form")
        counts = window_counts(sizes, self.kernel, self.stride, self.low, self.dilation)
        if min(counts) < 1:
            raise NotConvertibleError(f"a window of {list(self.kernel)} exceeds {list(sizes)}")
        return counts


def patches(rewriter: Rewriter, x: ir.Value, window: Window) -> ir.Value:
    """(B, *sizes, C) --> (B, *counts, taps * C), equal padding on both sides."""
    batch, *sizes, channels = shape(x)
    counts = window.counts(sizes)
    row = element_count(window.kernel) * channels
    return PatchesOp(
        x=x,
        kernel=ir.DenseI64ArrayAttr.get(list(window.kernel)),
        stride=ir.DenseI64ArrayAttr.get(list(window.stride)),
        padding=ir.DenseI64ArrayAttr.get(list(window.low)),
        dilation=ir.DenseI64ArrayAttr.get(list(window.dilation)),
        result=ir.RankedTensorType.get([batch, *counts, row], x.type.element_type),
    ).result


def blocks(
    rewriter: Rewriter, x: ir.Value, kernel: Sequence[int], *, channels_first: bool
) -> ir.Value:
    """A picture cut into blocks of the kernel's size, what is left over dropped.

    (B, C, *sizes) --> (B, *counts, C * taps), or (B, *sizes, C) --> (B, *counts, taps * C).
    """
    first = 2 if channels_first else 1
    rank = len(shape(x))
    counts = list[int]()
    for axis, size in enumerate(kernel, first):
        counts.append(shape(x)[axis] // size)
        if counts[-1] < 1:
            raise NotConvertibleError(f"a window of {list(kernel)} exceeds {list(shape(x))}")
        x = sliced(x, axis, 0, counts[-1] * size)
    batch, channels = shape(x)[0], shape(x)[1 if channels_first else rank - 1]
    pairs = [each for pair in zip(counts, kernel, strict=True) for each in pair]
    grid = [first + 2 * axis for axis in range(len(kernel))]
    taps = [axis + 1 for axis in grid]
    row = element_count(kernel) * channels
    if channels_first:
        split, order = [batch, channels, *pairs], [0, *grid, 1, *taps]
    else:
        split, order = [batch, *pairs, channels], [0, *grid, *taps, 2 * len(kernel) + 1]
    cut = rewriter.transpose(rewriter.reshape(x, split), order)
    return rewriter.reshape(cut, [batch, *counts, row])
