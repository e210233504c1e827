"""Splits each function into what runs on the accelerator and what stays on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects import mfm
from girih.dialects.mfm.assembly import BroadcastOp, ConcatenateOp
from girih.dialects.mfm.base import element, shape
from girih.passes.base import Compilation
from girih.passes.convert_torch_to_mfm import FALLBACK, erase_unused
from girih.passes.functions import functions_of
from girih.passes.states import state_of
from girih.passes.tiling.movement import moves_rows
from girih.passes.tiling.rows import is_row_by_row

NPU = "mfm.npu"
HOST = "mfm.host"
REASON = "mfm.reason"

_ON_ACCELERATOR = (
    BroadcastOp,
    ConcatenateOp,
    mfm.CacheUpdateOp,
    mfm.EmbeddingOp,
    mfm.IntegerAddOp,
    mfm.IntegerAttentionOp,
    mfm.IntegerConv1dOp,
    mfm.IntegerEmbeddingOp,
    mfm.IntegerGeluOp,
    mfm.IntegerLayerNormOp,
    mfm.IntegerLinearOp,
    mfm.IntegerMatmulOp,
    mfm.IntegerMultiplyOp,
    mfm.IntegerRmsNormOp,
    mfm.RescaleOp,
    mfm.ReshapeOp,
    mfm.SliceOp,
    mfm.TransposeOp,
)
_MOVEMENT = (BroadcastOp, ConcatenateOp, mfm.ReshapeOp, mfm.SliceOp, mfm.TransposeOp)
_LIST = "torch.prim.ListConstruct"
_INTEGERS = ("i8", "i16", "i32")


@dataclass(frozen=True)
class Partition:
    """Outline maximal groups of operations by where they run.

    ```
    func @f(%x) { %0 = host_op(%x)  %1 = npu_op(%0)  return %1 }
    -->
    func @f(%x) { %0 = call @f.host0(%x)  %1 = call @f.npu1(%0)  return %1 }
    func @f.host0(%x) attributes {mfm.host} ...
    func @f.npu1(%0) attributes {mfm.npu} ...
    ```
    Each host operation carries in `mfm.reason` why it is not on the accelerator. Weights are
    mentioned anew in each group that reads them.
    """

    name: ClassVar[str] = "partition"

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every function of the module."""
        for function in functions_of(module):
            _partition(function, module)


def host_reason(op: ir.OpView) -> str | None:
    """Why an operation must run on the host; None where it runs on the accelerator."""
    if FALLBACK in op.operation.attributes:
        return op.operation.attributes[FALLBACK].value
    if isinstance(op, mfm.QuantizeOp | mfm.DequantizeOp):
        return "a seam between float and integer"
    if any(_is_tensor(value) and 0 in shape(value) for value in (*op.operands, *op.results)):
        return "works on an empty tensor"
    if isinstance(op, mfm.IntegerAddOp | mfm.IntegerMultiplyOp) and not is_row_by_row(op):
        return "the vector engine repeats whole rows, not parts of them"
    if _has_partial_mask(op):
        return "an attention mask must have a column for every key"
    kind = element(op.results[0]) if len(op.results) == 1 and _is_tensor(op.results[0]) else ""
    if kind.startswith("f"):
        return "computes in float"
    if isinstance(op, _MOVEMENT) and not isinstance(op, mfm.ReshapeOp) and not moves_rows(op):
        return "takes rows apart, which is not a block transfer"
    if isinstance(op, _ON_ACCELERATOR) and kind in _INTEGERS:
        return None
    if isinstance(op, mfm.Operation):
        return f"works on {kind}, which the accelerator does not compute with"
    return f"{op.operation.name} has no mfm form"


def _has_partial_mask(op: ir.OpView) -> bool:
    if not isinstance(op, mfm.IntegerAttentionOp) or op.mask is None:
        return False
    return shape(op.mask)[-1] != shape(op.key)[1]


def _is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.RankedTensorType)


def _partition(function: func.FuncOp, module: ir.Module) -> None:
    block = function.entry_block
    returned = block.operations[len(block.operations) - 1]
    _copy_returned_weights(returned)
    depths: dict[ir.Value, int] = {}
    segments: dict[int, list[ir.OpView]] = {}
    for op in block.operations:
        if _is_constant(op) or isinstance(op, func.ReturnOp):
            continue
        reason = host_reason(op)
        if reason is None and _is_idle_movement(op, depths):
            reason = "only moves what the host reads"
        if reason is not None:
            op.operation.attributes[REASON] = ir.StringAttr.get(reason)
        # Even depths run on the host, odd ones on the accelerator; an operation runs as early as
        # its operands allow, so the segments in order of depth respect every dependence.
        parity = 1 if reason is None else 0
        depth = max((depths.get(operand, 0) for operand in _sources(op)), default=0)
        depth += depth % 2 != parity
        for result in op.results:
            depths[result] = depth
        segments.setdefault(depth, []).append(op)
    for depth in sorted(segments):
        with ir.InsertionPoint(returned), function.location:
            _outline(function, module, depth, segments[depth])
    erase_unused(block)


def _outline(
    function: func.FuncOp, module: ir.Module, depth: int, operations: list[ir.OpView]
) -> None:
    inside = {result for op in operations for result in op.results}
    inputs = list(
        dict.fromkeys(
            operand
            for op in operations
            for operand in _sources(op)
            if operand not in inside and not _is_mentioned_anew(operand)
        )
    )
    members = {op.operation for op in operations}
    results = [result for op in operations for result in op.results]
    outputs = [each for result in results for each in _outputs(function, result, members, depth)]
    kind = "npu" if depth % 2 else "host"
    name = f"{function.name.value}.{kind}{depth}"
    types = [value.type for value in inputs], [output.value.type for output in outputs]
    with ir.InsertionPoint(module.body):
        outlined = func.FuncOp(name, types)
    outlined.attributes[NPU if depth % 2 else HOST] = ir.UnitAttr.get()
    outlined.attributes["arg_attrs"] = ir.ArrayAttr.get(
        [_argument_attributes(function, value) for value in inputs]
    )
    outlined.attributes["res_attrs"] = ir.ArrayAttr.get([output.attributes for output in outputs])
    body = outlined.add_entry_block()
    call = func.CallOp(types[1], name, inputs)
    mapping = dict(zip(inputs, body.arguments, strict=True))
    with ir.InsertionPoint(body):
        for op in operations:
            for operand in op.operands:
                _mention(operand, mapping)
            copy = op.operation.clone()
            for index, operand in enumerate(op.operands):
                copy.operands[index] = mapping[operand]
            mapping.update(zip(op.results, copy.results, strict=True))
        func.ReturnOp([mapping[output.value] for output in outputs])
    for output, new in zip(outputs, call.results, strict=True):
        for user, number in output.uses:
            user.operands[number] = new
    for op in reversed(operations):
        # Lists whose readers are gone were made anew where those went.
        for reader in {use.owner.operation for result in op.results for use in result.uses}:
            reader.erase()
        op.operation.erase()


def _is_idle_movement(op: ir.OpView, depths: dict[ir.Value, int]) -> bool:
    """Whether movement would make an accelerator segment that computes nothing."""
    if not isinstance(op, _MOVEMENT) or any(depths.get(x, 0) % 2 for x in op.operands):
        return False
    return any(host_reason(use.owner.operation.opview) for use in op.result.uses)


def _is_constant(op: ir.OpView) -> bool:
    """Whether an operation costs nothing to have in every segment that reads it."""
    return isinstance(op, mfm.ParameterOp | mfm.UnpackOp) or op.operation.name.startswith(
        ("torch.constant.", _LIST)
    )


def _sources(op: ir.OpView | ir.Operation) -> list[ir.Value]:
    """The values that an operation reads, those inside lists too."""
    sources: list[ir.Value] = []
    for operand in op.operands:
        owner = operand.owner
        is_list = not isinstance(owner, ir.Block) and owner.name == _LIST
        sources += _sources(owner) if is_list else [operand]
    return sources


def _users(value: ir.Value) -> list[tuple[ir.Operation, int]]:
    """The operations that read a value, through lists too, and as which operand."""
    users: list[tuple[ir.Operation, int]] = []
    for use in value.uses:
        user = use.owner.operation
        is_list = user.name == _LIST
        users += _users(user.results[0]) if is_list else [(user, use.operand_number)]
    return users


def _is_mentioned_anew(value: ir.Value) -> bool:
    owner = value.owner
    return not isinstance(owner, ir.Block) and _is_constant(owner.opview)


def _mention(value: ir.Value, mapping: dict[ir.Value, ir.Value]) -> None:
    """Copy a constant, and the constants that it is made of, into the current segment."""
    if value in mapping or not _is_mentioned_anew(value):
        return
    for operand in value.owner.operands:
        _mention(operand, mapping)
    copy = value.owner.clone()
    for index, operand in enumerate(value.owner.operands):
        copy.operands[index] = mapping[operand]
    mapping[value] = copy.results[0]


def _argument_attributes(function: func.FuncOp, value: ir.Value) -> ir.DictAttr:
    arguments = list(function.entry_block.arguments)
    if value in arguments and "arg_attrs" in function.attributes:
        return function.attributes["arg_attrs"][arguments.index(value)]
    return ir.DictAttr.get({})


@dataclass(frozen=True)
class _Output:
    """A result of a segment, and the operands elsewhere that read it."""

    value: ir.Value
    attributes: ir.DictAttr
    uses: list[tuple[ir.Operation, int]]


def _outputs(
    function: func.FuncOp, value: ir.Value, members: set[ir.Operation], depth: int
) -> list[_Output]:
    """The results of a segment that one value makes.

    One for all readers; and on the accelerator, where states live in its memory, one for each
    state whose next value it is.
    """
    states: list[_Output] = []
    plain: list[tuple[ir.Operation, int]] = []
    attributes = ir.DictAttr.get({})
    for use in value.uses:
        user, number = use.owner.operation, use.operand_number
        returned = isinstance(use.owner, func.ReturnOp) and "res_attrs" in function.attributes
        if returned and depth % 2 and state_of(function, "res_attrs", number) is not None:
            states.append(
                _Output(value, function.attributes["res_attrs"][number], [(user, number)])
            )
            continue
        if returned:
            attributes = function.attributes["res_attrs"][number]
        if user not in members:
            plain.append((user, number))
    is_read = any(
        user not in members and (user.name != "func.return" or (user, number) in plain)
        for user, number in _users(value)
    )
    return states + ([_Output(value, attributes, plain)] if is_read else [])


def _copy_returned_weights(returned: ir.OpView) -> None:
    """Let a weight that is a result of the function be the result of an operation."""
    with ir.InsertionPoint(returned), returned.location:
        for number, value in enumerate(returned.operands):
            owner = value.owner
            if not isinstance(owner, ir.Block) and isinstance(owner.opview, mfm.ParameterOp):
                copy = mfm.ReshapeOp(x=value, result=value.type)
                returned.operation.operands[number] = copy.result
