"""`reshape`, `transpose` and `slice`: they move elements and compute nothing."""

from __future__ import annotations

from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import build


def lower_reshape(op: Any) -> ir.Value:
    """Collapse and expand."""
    return build.reshape(op.x, build.shape(op.result))


def lower_transpose(op: Any) -> ir.Value:
    """A permutation of the axes."""
    return build.transpose(op.x, list(op.permutation))


def lower_slice(op: Any) -> ir.Value:
    """A strided slice."""
    return build.slice_(op.x, list(op.offsets), build.shape(op.result), list(op.strides))
