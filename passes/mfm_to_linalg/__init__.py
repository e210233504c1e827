"""Lowerings of the `mfm` operations to linalg, one operation family a file as in the dialect.

A lowering gets the operation, with the insertion point before it, and returns its replacement.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch_mlir import ir

from girih.passes.mfm_to_linalg import (
    activation,
    assembly,
    attention,
    binary,
    cache,
    convolution,
    elementwise,
    embedding,
    gather,
    integer_matmul,
    integer_multiply,
    integer_rms_norm,
    linear,
    matmul,
    normalization,
    packed,
    packed_attention,
    patches,
    quantization,
    reduction,
    selection,
    shaping,
    softmax,
    unary,
)
from girih.passes.mfm_to_linalg.parameter import PARAMETER_SCOPE, Globals

Lowering = Callable[[Any], ir.Value]

_LOWERINGS: dict[str, Lowering] = {
    "mfm.add": elementwise.lower_add,
    "mfm.argmax": reduction.lower_argmax,
    "mfm.attention": attention.lower_attention,
    "mfm.binary": binary.lower_binary,
    "mfm.broadcast": assembly.lower_broadcast,
    "mfm.cache_update": cache.lower_cache_update,
    "mfm.compare": elementwise.lower_compare,
    "mfm.concatenate": assembly.lower_concatenate,
    "mfm.conv1d": convolution.lower_conv1d,
    "mfm.convert": selection.lower_convert,
    "mfm.cumulative_sum": reduction.lower_cumulative_sum,
    "mfm.dequantize": quantization.lower_dequantize,
    "mfm.embedding": embedding.lower_embedding,
    "mfm.gather": gather.lower_gather,
    "mfm.gelu": activation.lower_gelu,
    "mfm.integer_add": elementwise.lower_integer_add,
    "mfm.integer_conv1d": convolution.lower_integer_conv1d,
    "mfm.integer_embedding": embedding.lower_integer_embedding,
    "mfm.integer_gelu": activation.lower_integer_gelu,
    "mfm.integer_layer_norm": normalization.lower_integer_layer_norm,
    "mfm.integer_linear": linear.lower_integer_linear,
    "mfm.integer_matmul": integer_matmul.lower_integer_matmul,
    "mfm.integer_multiply": integer_multiply.lower_integer_multiply,
    "mfm.integer_rms_norm": integer_rms_norm.lower_integer_rms_norm,
    "mfm.layer_norm": normalization.lower_layer_norm,
    "mfm.linear": linear.lower_linear,
    "mfm.masked_scatter": gather.lower_masked_scatter,
    "mfm.matmul": matmul.lower_matmul,
    "mfm.multiply_scalar": elementwise.lower_multiply_scalar,
    "mfm.pad": assembly.lower_pad,
    "mfm.patches": patches.lower_patches,
    "mfm.quantize": quantization.lower_quantize,
    "mfm.reduce": reduction.lower_reduce,
    "mfm.rescale": quantization.lower_rescale,
    "mfm.reshape": shaping.lower_reshape,
    "mfm.rms_norm": normalization.lower_rms_norm,
    "mfm.scatter_rows": gather.lower_scatter_rows,
    "mfm.select": selection.lower_select,
    "mfm.slice": shaping.lower_slice,
    "mfm.softmax": softmax.lower_softmax,
    "mfm.take": gather.lower_take,
    "mfm.transpose": shaping.lower_transpose,
    "mfm.unary": unary.lower_unary,
    "mfm.unpack": packed.lower_unpack,
}


def lowerings(tile: packed_attention.Tile) -> dict[str, Lowering]:
    """The lowering of every operation, for a CPU whose byte kernel has this tile."""
    integer_attention = functools.partial(attention.lower_integer_attention, tile=tile)
    return {**_LOWERINGS, "mfm.integer_attention": integer_attention}


__all__ = ["PARAMETER_SCOPE", "Globals", "Lowering", "lowerings"]
