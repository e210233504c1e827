"""Float `mfm` operations in PyTorch, so that they have gradients.

`reference()` remains their definition: tests compare the two. What moves, chooses or computes on
anything but floats has no gradient to lose, and is left to `reference()` where it is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import shape
from girih.passes.differentiable import integers

Form = Callable[..., Tensor]
"""Tensors, one per operand, to the result."""


def form_of(op: ir.OpView) -> Form | None:
    """What an operation computes, in PyTorch; None where only its reference says it."""
    make = _FORMS.get(type(op)) or integers.FORMS.get(type(op))
    return None if make is None else make(op)


def _attention(op: mfm.AttentionOp) -> Form:
    scale, causal = op.scale.value, bool(op.causal.value)

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        heads, shared = query.shape[2], key.shape[2]
        q, k, v = (part.transpose(1, 2) for part in (query, key, value))
        k, v = (part.repeat_interleave(heads // shared, dim=1) for part in (k, v))
        queries, keys = query.shape[1], key.shape[1]
        bias: Tensor | None = None
        if mask is not None:
            bias = mask if mask.is_floating_point() else mask != 0
        if causal and queries > 1:
            seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
            bias = seen if bias is None else _restricted(bias, seen)
        if bias is None:
            return _heads_last(F.scaled_dot_product_attention(q, k, v, scale=scale))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
        if bias.dtype == torch.bool:
            # A query that sees nothing gives 0, here and on the accelerator.
            mixed = torch.where(bias.any(-1, keepdim=True), mixed, 0.0)
        return _heads_last(mixed)

    return run


def _restricted(mask: Tensor, seen: Tensor) -> Tensor:
    return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, -torch.inf)


def _heads_last(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous()


def _conv1d(op: mfm.Conv1dOp) -> Form:
    kernel, stride, padding = op.kernel.value, op.stride.value, op.padding.value

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        taps = weight.reshape(len(weight), kernel, -1).transpose(1, 2)
        result = F.conv1d(x.transpose(1, 2), taps, bias, stride=stride, padding=padding)
        return result.transpose(1, 2)

    return run


def _linear(op: mfm.LinearOp) -> Form:
    return lambda x, weight, bias=None: F.linear(x, weight, bias)


def _matmul(op: mfm.MatmulOp) -> Form:
    if op.is_transposed:
        return lambda lhs, rhs: torch.matmul(lhs, rhs.transpose(-1, -2))
    return torch.matmul


def _layer_norm(op: mfm.LayerNormOp) -> Form:
    epsilon = op.epsilon.value
    return lambda x, gamma, beta: F.layer_norm(x, gamma.shape, gamma, beta, epsilon)


def _rms_norm(op: mfm.RmsNormOp) -> Form:
    epsilon = op.epsilon.value
    return lambda x, gamma: F.rms_norm(x, gamma.shape, gamma, epsilon)


def _gelu(op: mfm.GeluOp) -> Form:
    approximate = op.approximate.value
    return lambda x: F.gelu(x, approximate=approximate)


def _multiply_scalar(op: mfm.MultiplyScalarOp) -> Form:
    factor = op.factor.value
    return lambda x: x * factor


def _embedding(op: mfm.EmbeddingOp) -> Form:
    return lambda indices, table: table[indices.long()]


def _cache_update(op: mfm.CacheUpdateOp) -> Form:
    return lambda cache, position, rows: cache.index_copy(1, position.long(), rows)


def _scatter_rows(op: mfm.ScatterRowsOp) -> Form:
    axis = op.axis.value
    return lambda x, indices, rows: x.index_copy(axis, indices, rows)


def _take(op: mfm.TakeOp) -> Form:
    axis = op.axis.value

    def run(x: Tensor, indices: Tensor) -> Tensor:
        taken = x.index_select(axis, indices.reshape(-1).long())
        return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])

    return run


def _gather(op: mfm.GatherOp) -> Form:
    axis = op.axis.value
    return lambda x, indices: torch.gather(x, axis, indices)


def _masked_scatter(op: mfm.MaskedScatterOp) -> Form:
    return lambda x, mask, source: x.masked_scatter(mask, source)


def _reshape(op: mfm.ReshapeOp) -> Form:
    sizes = shape(op.result)
    return lambda x: x.reshape(sizes)


def _transpose(op: mfm.TransposeOp) -> Form:
    order = list(op.permutation)
    return lambda x: x.permute(order)


def _slice(op: mfm.SliceOp) -> Form:
    picks = tuple(
        slice(start, start + (count - 1) * step + 1, step)
        for start, step, count in zip(op.offsets, op.strides, shape(op.result), strict=True)
    )
    return lambda x: x[picks]


def _concatenate(op: mfm.ConcatenateOp) -> Form:
    axis = op.axis.value
    return lambda *parts: torch.cat(parts, dim=axis)


def _pad(op: mfm.PadOp) -> Form:
    pairs = zip(reversed(list(op.low)), reversed(list(op.high)), strict=True)
    widths = [width for pair in pairs for width in pair]
    value = op.value.value
    return lambda x: F.pad(x, widths, value=value)


def _broadcast(op: mfm.BroadcastOp) -> Form:
    sizes = shape(op.result)
    return lambda x: x.expand(sizes)


def _select(op: mfm.SelectOp) -> Form:
    return torch.where


def _softmax(op: mfm.SoftmaxOp) -> Form:
    return lambda x: torch.softmax(x, -1)


def _add(op: mfm.AddOp) -> Form:
    return torch.add


def _binary(op: mfm.BinaryOp) -> Form | None:
    return _BINARY.get(op.function.value)


def _unary(op: mfm.UnaryOp) -> Form | None:
    return _UNARY.get(op.function.value)


def _reduce(op: mfm.ReduceOp) -> Form | None:
    axes = list(op.axes)
    match op.function.value:
        case "sum":
            return lambda x: x.sum(axes).to(x.dtype)
        case "maximum":
            return lambda x: x.amax(axes)
        case "minimum":
            return lambda x: x.amin(axes)
        case _:
            return None


_BINARY: dict[str, Form] = {
    "subtract": torch.sub,
    "multiply": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    # Of integers only the reference knows how they divide.
    "power": torch.pow,
}
_UNARY: dict[str, Form] = {
    "absolute": torch.abs,
    "cosine": torch.cos,
    "elu": F.elu,
    "erf": torch.erf,
    "exp": torch.exp,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "log": torch.log,
    "negate": torch.neg,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "sine": torch.sin,
    "softplus": F.softplus,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
}
_FORMS: dict[type, Callable[[Any], Form | None]] = {
    mfm.AddOp: _add,
    mfm.AttentionOp: _attention,
    mfm.BinaryOp: lambda op: _float_divide(op) or _binary(op),
    mfm.BroadcastOp: _broadcast,
    mfm.CacheUpdateOp: _cache_update,
    mfm.ConcatenateOp: _concatenate,
    mfm.Conv1dOp: _conv1d,
    mfm.EmbeddingOp: _embedding,
    mfm.GatherOp: _gather,
    mfm.GeluOp: _gelu,
    mfm.LayerNormOp: _layer_norm,
    mfm.LinearOp: _linear,
    mfm.MaskedScatterOp: _masked_scatter,
    mfm.MatmulOp: _matmul,
    mfm.MultiplyScalarOp: _multiply_scalar,
    mfm.PadOp: _pad,
    mfm.ReduceOp: _reduce,
    mfm.ReshapeOp: _reshape,
    mfm.RmsNormOp: _rms_norm,
    mfm.ScatterRowsOp: _scatter_rows,
    mfm.SelectOp: _select,
    mfm.SliceOp: _slice,
    mfm.SoftmaxOp: _softmax,
    mfm.TakeOp: _take,
    mfm.TransposeOp: _transpose,
    mfm.UnaryOp: _unary,
}


def _float_divide(op: mfm.BinaryOp) -> Form | None:
    is_float = str(op.result.type.element_type) == "f32"
    return torch.div if is_float and op.function.value == "divide" else None
