"""Interpolation to sizes known at compile time: what torch does to the identity is the matrix."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch_mlir import ir

from girih.dialects.mfm.base import shape
from girih.passes.torch_to_mfm.assembly import taken
from girih.passes.torch_to_mfm.rewriter import Converter, Rewriter
from girih.passes.torch_to_mfm.separable import along_axes

_NEAREST = ("upsample_nearest", "_upsample_nearest_exact")
_SMOOTH = {
    "upsample_linear": (1,),
    "upsample_bilinear": (2,),
    "upsample_bicubic": (2,),
    "_upsample_bilinear": (2,),
    "_upsample_bicubic": (2,),
}


def _axis_matrix(
    name: str, axes: int, size: int, count: int, scale: float | None, *flags: Any
) -> NDArray[Any]:
    """(count, size): row i is how new element i of one axis is made of the old ones.

    torch interpolates each axis by itself, so one whose other axes stay as they are shows it. They
    have two elements each: with one, torch 2.13 gives the antialiased kinds' first row throughout.
    """
    operation = getattr(torch.ops.aten, name).default
    rest = [2] * (axes - 1)
    # Channel i has a one at place i and zeros elsewhere.
    identity = torch.eye(size).reshape(1, size, size, *[1] * (axes - 1))
    scales = [scale, *[None] * (axes - 1)]
    out = operation(identity.expand(1, size, size, *rest).clone(), [count, *rest], *flags, *scales)
    return out.reshape(size, count, -1)[:, :, 0].T.numpy()


def _matrices(
    rewriter: Rewriter, op: ir.OpView, name: str, axes: int, flags: list[Any]
) -> tuple[list[NDArray[Any]], list[str]]:
    """One matrix per axis, and a name for each."""
    sizes = list(rewriter.builtin_type(op.operands[0]).shape)[-axes:]
    counts = list(rewriter.builtin_type(op.results[0]).shape)[-axes:]
    scales = _scales(rewriter, op, axes, 2 + len(flags))
    matrices, names = list[NDArray[Any]](), list[str]()
    for size, count, scale in zip(sizes, counts, scales, strict=True):
        matrices.append(_axis_matrix(name, axes, size, count, scale, *flags))
        label = ".".join(map(str, (name, size, count, *flags, scale)))
        names.append(label)
    return matrices, names


def _scales(rewriter: Rewriter, op: ir.OpView, axes: int, first: int) -> list[float | None]:
    """Scale factors as the user gave them: where they are missing the sizes decide."""
    found = [rewriter.constant(value) for value in list(op.operands)[first:]]
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    return found if len(found) == axes else [None] * axes


def _nearest(name: str, axes: int) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        """aten.upsample_nearest(x, size?, scales?): elements taken along each axis."""
        x = rewriter.tensor(op.operands[0])
        matrices, _ = _matrices(rewriter, op, name, axes, [])
        for axis, matrix in enumerate(matrices, len(shape(x)) - axes):
            places = matrix.argmax(axis=1).tolist()
            if places != list(range(shape(x)[axis])):
                x = taken(rewriter, x, axis, places)
        return x

    return convert


def _smooth(name: str, axes: int) -> Converter:
    def convert(rewriter: Rewriter, op: ir.OpView) -> ir.Value:
        """aten.upsample_bilinear2d and its kind (x, size?, align_corners, scales?)."""
        x = rewriter.tensor(op.operands[0])
        rewriter.require_float32(x)
        align_corners = rewriter.constant(op.operands[2])
        return along_axes(rewriter, x, *_matrices(rewriter, op, name, axes, [align_corners]))

    return convert


def _converters() -> dict[str, Converter]:
    found = dict[str, Converter]()
    for name in _NEAREST:
        for axes in (1, 2, 3):
            found[f"{name}{axes}d"] = _nearest(f"{name}{axes}d", axes)
    for name, ranks in _SMOOTH.items():
        for axes in ranks:
            whole = f"{name}{axes}d" + ("_aa" if name.startswith("_") else "")
            found[whole] = _smooth(whole, axes)
    return {
        f"torch.aten.{name}{form}": converter
        for name, converter in found.items()
        for form in ("", ".vec")
    }


CONVERTERS = _converters()
