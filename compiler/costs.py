"""What an operation costs whatever runs it: multiply-accumulates, and bytes read and written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch_mlir import ir

from girih.dialects.mfm.base import DTYPES

_BITS = re.compile(r"\d+")
_TORCH_TENSOR = re.compile(r"!torch\.vtensor<\[([\d,]*)\],([\w<>]+)>")
_VIEWS = (
    "mfm.reshape",
    "torch.aten.view",
    "torch.aten._unsafe_view",
    "torch.aten.reshape",
    "torch.aten.unsqueeze",
    "torch.aten.squeeze",
    "torch.aten.flatten",
    "torch.aten.detach",
    "torch.aten.alias",
)
"""Operations that move nothing: the same bytes under another shape."""
_LOOKUPS = {
    "mfm.embedding": 0,
    "mfm.integer_embedding": 0,
    "mfm.take": 0,
    "mfm.gather": 0,
    "torch.aten.embedding": 0,
    "torch.aten.index_select": 0,
    "torch.aten.gather": 0,
    "torch.aten.index.Tensor": 0,
}
"""Operations that read of one operand, by number, only as much as they return."""


@dataclass(frozen=True)
class Cost:
    """macs: multiply-accumulates. bytes: operands read and results written, each once."""

    macs: int
    bytes: int


def cost(op: ir.OpView) -> Cost:
    """The cost of an operation of `mfm` or torch.

    MACs are those of products (linear, matmul, convolution, attention); additions, functions of
    single elements and sums count as bytes alone. A view costs nothing, of a table only the rows
    that are looked up are read, and of a cache only the rows that change are written.
    """
    return Cost(_macs(op), _bytes(op))


def operation_name(op: ir.OpView) -> str:
    """Name of an operation; that behind ``torch.operator``, which torch-mlir does not know."""
    if op.operation.name == "torch.operator":
        return op.operation.attributes["name"].value
    return op.operation.name


def is_work(op: ir.OpView) -> bool:
    """Whether an operation computes or moves anything: no constant, cast of types or terminator."""
    name = op.operation.name
    if name == "mfm.parameter" or name.startswith(("torch.constant.", "torch.prim.", "torch_c.")):
        return False
    return name.startswith(("mfm.", "torch."))


# ---- bytes ----


def _bytes(op: ir.OpView) -> int:
    name = operation_name(op)
    if name in _VIEWS:
        return 0
    results = sum(tensor_bytes(result) for result in op.results)
    operands = [tensor_bytes(value) for value in op.operands]
    if name in _LOOKUPS:
        # Beside the rows, their numbers.
        operands[_LOOKUPS[name]] = min(operands[_LOOKUPS[name]], results)
    if name == "mfm.cache_update":
        # In place: the rest of the cache stays where it is.
        _, position, rows = operands
        return 2 * rows + position
    return results + sum(operands)


def tensor_bytes(value: ir.Value) -> int:
    """Bytes of a tensor, of either world, or of a list of tensors; 0 for anything else."""
    owner = value.owner
    if not isinstance(owner, ir.Block) and owner.name == "torch.prim.ListConstruct":
        return sum(tensor_bytes(item) for item in owner.operands)
    if isinstance(value.type, ir.RankedTensorType):
        itemsize = DTYPES.get(str(value.type.element_type))
        sizes = tuple(value.type.shape)
        return math.prod(sizes) * (4 if itemsize is None else itemsize.itemsize)
    return math.prod(_shape(value)) * _torch_itemsize(value) if _is_torch_tensor(value) else 0


def _torch_itemsize(value: ir.Value) -> int:
    match = _TORCH_TENSOR.search(str(value.type))
    bits = _BITS.search(match.group(2)) if match else None
    size = max(1, int(bits.group()) // 8) if bits else 4
    return 2 * size if "complex" in str(value.type) else size


def _is_torch_tensor(value: ir.Value) -> bool:
    return _TORCH_TENSOR.search(str(value.type)) is not None


def _shape(value: ir.Value) -> tuple[int, ...]:
    """Shape of a tensor of either world; empty for what is none."""
    if isinstance(value.type, ir.RankedTensorType):
        return tuple(value.type.shape)
    match = _TORCH_TENSOR.search(str(value.type))
    return tuple(int(size) for size in match.group(1).split(",") if size) if match else ()


# ---- multiply-accumulates ----


def _macs(op: ir.OpView) -> int:
    rule = _MACS.get(operation_name(op))
    return 0 if rule is None or not op.results else rule(op)


def _count(value: ir.Value) -> int:
    return math.prod(_shape(value))


def _depth_of(operand: int, axis: int = -1) -> Callable[[Any], int]:
    """Each element of the result sums over an axis of an operand."""

    def macs(op: ir.OpView) -> int:
        sizes = _shape(op.operands[operand])
        return _count(op.results[0]) * (sizes[axis] if sizes else 1)

    return macs


def _attention(op: ir.OpView) -> int:
    """Scores and mix; query (B, Lq, H, D), key (B, Lk, K, D), value (B, Lk, K, E)."""
    batch, queries, heads, depth = _shape(op.operands[0])
    keys, mixed = _shape(op.operands[1])[1], _shape(op.operands[2])[3]
    return batch * heads * queries * keys * (depth + mixed)


def _torch_attention(op: ir.OpView) -> int:
    """As `_attention`, with the heads (any leading axes) before the rows."""
    *leading, queries, depth = _shape(op.operands[0])
    keys, mixed = _shape(op.operands[1])[-2], _shape(op.operands[2])[-1]
    return math.prod(leading) * queries * keys * (depth + mixed)


def _convolution(op: ir.OpView) -> int:
    """Weight (N, C / groups, *kernel): each output element sums over all but its first axis."""
    return _count(op.results[0]) * math.prod(_shape(op.operands[1])[1:])


def _transposed_convolution(op: ir.OpView) -> int:
    """Weight (C, N / groups, *kernel): each input element goes to all but its first axis."""
    return _count(op.operands[0]) * math.prod(_shape(op.operands[1])[1:])


def _any_convolution(op: ir.OpView) -> int:
    """aten.convolution(x, weight, bias, stride, padding, dilation, transposed, ...)."""
    owner = op.operands[6].owner if len(op.operands) > 6 else None
    transposed = (
        owner is not None
        and isinstance(owner, ir.Operation)
        and owner.name == "torch.constant.bool"
        and bool(owner.attributes["value"].value)
    )
    return _transposed_convolution(op) if transposed else _convolution(op)


def _einsum(op: ir.OpView) -> int:
    """The product of all sizes: what the sum costs without factoring it."""
    equation, operands = op.operands[0].owner, op.operands[1].owner
    if isinstance(equation, ir.Block) or isinstance(operands, ir.Block):
        return 0
    text = equation.attributes["value"].value.replace(" ", "")
    return einsum_macs(text, [_shape(value) for value in operands.operands])


def einsum_macs(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """MACs of an einsum over operands of the given shapes; an ellipsis counts once."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.partition("->")[0].split(","), shapes, strict=True):
        head, dots, tail = term.partition("...")
        sizes.update(zip(head, shape, strict=False))
        if tail:
            sizes.update(zip(tail, shape[-len(tail) :], strict=True))
        if dots:
            middle = math.prod(shape[len(head) : len(shape) - len(tail)])
            sizes["..."] = max(sizes.get("...", 1), middle)
    return math.prod(sizes.values())


_MACS: dict[str, Callable[[Any], int]] = {
    "mfm.linear": _depth_of(1),
    "mfm.integer_linear": _depth_of(1),
    "mfm.matmul": _depth_of(0),
    "mfm.integer_matmul": _depth_of(0),
    "mfm.conv1d": _depth_of(1),
    "mfm.integer_conv1d": _depth_of(1),
    "mfm.attention": _attention,
    "mfm.integer_attention": _attention,
    "torch.aten.linear": _depth_of(1),
    "torch.aten.matmul": _depth_of(0),
    "torch.aten.mm": _depth_of(0),
    "torch.aten.mv": _depth_of(0),
    "torch.aten.dot": _depth_of(0),
    "torch.aten.bmm": _depth_of(0),
    "torch.aten.addmm": _depth_of(1),
    "torch.aten.baddbmm": _depth_of(1),
    "torch.aten.conv1d": _convolution,
    "torch.aten.conv2d": _convolution,
    "torch.aten.conv3d": _convolution,
    "torch.aten.conv1d.padding": _convolution,
    "torch.aten.conv2d.padding": _convolution,
    "torch.aten.conv3d.padding": _convolution,
    "torch.aten.conv_transpose1d": _transposed_convolution,
    "torch.aten.conv_transpose2d.input": _transposed_convolution,
    "torch.aten.conv_transpose3d.input": _transposed_convolution,
    "torch.aten.convolution": _any_convolution,
    "torch.aten.scaled_dot_product_attention": _torch_attention,
    "torch.aten.einsum": _einsum,
}
