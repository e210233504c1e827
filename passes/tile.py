"""mfm --> npu: explicit buffers, transfers and engines, sized for one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch_mlir import ir
from torch_mlir.dialects import func

from girih.dialects import mfm, npu
from girih.dialects.mfm.assembly import BroadcastOp, ConcatenateOp
from girih.dialects.mfm.base import element, shape
from girih.dialects.npu.base import DTYPES
from girih.passes.base import Compilation
from girih.passes.partition import NPU
from girih.passes.states import state_of
from girih.passes.tiling import lookup, movement, rows
from girih.passes.tiling.attention import AttentionTiler
from girih.passes.tiling.chain import epilogue, readers
from girih.passes.tiling.emitter import Buffer, Emitter
from girih.passes.tiling.fusion import Region, cheapest_region
from girih.passes.tiling.layer import STORED, LayerTiler, root
from girih.passes.tiling.mapping import Mapping
from girih.passes.tiling.normed_product import NormedProductTiler
from girih.passes.tiling.product import ProductTiler
from girih.passes.tiling.row_block import RowBlockTiler
from girih.runtime.errors import CompilationError


@dataclass(frozen=True)
class Tile:
    """Replace each accelerator segment by its machine code.

    ```
    func @f.npu1(%x) attributes {mfm.npu} { %y = "mfm.integer_linear"(%x, %w, %p) ... }
    -->
    "npu.program"() {sym_name = "f.npu1"} { npu.loop { dma_in, matmul, rescale, dma_out } }
    ```
    A product takes the gelu and the addition or multiplication that follow it along, and a norm the
    products around it, so that what lies between never leaves the chip (`fuse` turns that off).
    Without `double_buffer` a product by itself waits for each of its loads. Needs a target; refuses
    one that cannot hold the smallest tile of some layer before emitting anything for it.
    """

    name: ClassVar[str] = "tile"
    fuse: bool = True
    double_buffer: bool = True

    def run(self, module: ir.Module, compilation: Compilation) -> None:
        """Rewrite every segment of the module."""
        if compilation.target is None:
            raise CompilationError("tile needs a target")
        for function in list(module.body.operations):
            if isinstance(function, func.FuncOp) and NPU in function.attributes:
                with ir.InsertionPoint(function), function.location:
                    _Segment(function, compilation, self).emit()
                function.operation.erase()


class _Segment:
    def __init__(self, function: func.FuncOp, compilation: Compilation, options: Tile) -> None:
        self.function, self.fuse = function, options.fuse
        assert compilation.target is not None
        self.emitter = Emitter()
        self.layers: list[ir.Attribute] = []
        self.copies: list[tuple[ir.Value, Buffer]] = []
        # The op classes take an empty array for a missing one; the real rows come at the end.
        unknown = ir.ArrayAttr.get([ir.UnitAttr.get()])
        self.program = npu.ProgramOp(sym_name=function.name, layers=unknown, loc=function.location)
        block = self.program.body.blocks.append()
        with ir.InsertionPoint(block):
            # Declarations go before this marker, code after it.
            self.marker = ir.Operation.create("npu.code")
        self.tiler = LayerTiler(
            self.emitter,
            compilation.target,
            ir.InsertionPoint(self.marker),
            Mapping(compilation.target, compilation.mapping, compilation.chosen),
        )
        self.tiler.buffers = 2 if options.double_buffer else 1
        self.code = ir.InsertionPoint(block)

    def emit(self) -> None:
        block = self.function.entry_block
        self._declare_door(block)
        fused: set[ir.Operation] = set()
        for op in block.operations:
            if op.operation in fused or isinstance(op, func.ReturnOp):
                continue
            if isinstance(op, mfm.ParameterOp | mfm.ReshapeOp | mfm.UnpackOp):
                continue
            with self.code, op.location:
                region = self._region(op) if self.fuse else None
                if region is not None:
                    fused.update(self._emit_region(region))
                    continue
                self._begin_layer(op)
                fused.update(self._emit_layer(op))
        for value, place in self.copies:
            with self.code, self.function.location:
                self._emit_copy(value, place)
        self.marker.erase()
        self.program.operation.attributes["layers"] = ir.ArrayAttr.get(self.layers)

    def _declare_door(self, block: ir.Block) -> None:
        for index, argument in enumerate(block.arguments):
            state = state_of(self.function, "arg_attrs", index)
            if state is None:
                self.tiler.declare(argument, f"argument{index}", "argument", index)
            else:
                self.tiler.declare(argument, state, "state", index)
        returned = block.operations[len(block.operations) - 1]
        for index, value in enumerate(returned.operands):
            state = state_of(self.function, "res_attrs", index)
            source = root(value)
            updated = None if isinstance(source.owner, ir.Block) else source.owner.opview
            if (
                state is not None
                and isinstance(updated, mfm.CacheUpdateOp)
                and self._is_state_argument(root(updated.cache), state)
                and _last_use(updated)
            ):
                self.tiler.alias(value, updated.cache)
                continue
            if state is not None and self._is_state_argument(source, state):
                continue
            name, role = (f"result{index}", "result") if state is None else (state, "state")
            # What was the state is read until the end, so what it becomes must wait elsewhere.
            if self.tiler.is_placed(value) or self._has_state_argument(state):
                place = self.tiler.declare_apart(value, name, role, index)
                self.copies.append((value, place))
            else:
                self.tiler.declare(value, name, role, index)

    def _has_state_argument(self, state: str | None) -> bool:
        return state is not None and any(
            self._is_state_argument(argument, state)
            for argument in self.function.entry_block.arguments
        )

    def _emit_copy(self, value: ir.Value, place: Buffer) -> None:
        """A result that is an argument, a weight, another result or a state's next value."""
        self.emitter.layer = len(self.layers)
        self.tiler.location = f"a result of {self.function.name.value}"
        movement.whole(self.tiler, value, place)
        self.layers.append(_describe_layer("result", "copy", 0, 2 * _bytes(value)))

    def _is_state_argument(self, value: ir.Value, state: str) -> bool:
        return any(
            argument == value and state_of(self.function, "arg_attrs", index) == state
            for index, argument in enumerate(self.function.entry_block.arguments)
        )

    def _begin_layer(self, op: ir.OpView) -> None:
        self.emitter.layer = len(self.layers)
        location = op.location
        name = location.name_str if isinstance(location, ir.NameLoc) else op.operation.name
        self.tiler.location = f"{name} ({op.operation.name})"

    def _region(self, op: ir.OpView) -> Region | None:
        """The region that begins with an operation, where that is better than layer by layer."""
        self._begin_layer(op)
        return cheapest_region(self.tiler, op)

    def _emit_product(self, product: ProductTiler) -> None:
        self.tiler.mapping.use(product.what)
        product.emit()

    def _emit_region(self, region: Region) -> list[ir.Operation]:
        self._begin_layer(region.chain.norm)
        self.tiler.mapping.use(region.what)
        if isinstance(region, RowBlockTiler):
            region.emit()
            self.layers.append(_describe(region.chain.members))
        else:
            for number in range(len(region.passes)):
                self._begin_layer(region.norm)
                region.emit_pass(number)
                self.layers.append(_describe_pass(region, number))
        return [member.operation for member in region.chain.members]

    def _emit_layer(self, op: ir.OpView) -> list[ir.Operation]:
        tiler = self.tiler
        group: list[ir.OpView] = [op]
        match op:
            case mfm.IntegerLinearOp() | mfm.IntegerConv1dOp():
                gelu, add = epilogue(op) if self.fuse else (None, None)
                group += [follower for follower in (gelu, add) if follower is not None]
                self._emit_product(ProductTiler(tiler, op, gelu, add))
            case mfm.IntegerMatmulOp():
                self._emit_product(ProductTiler(tiler, op))
            case mfm.IntegerAttentionOp():
                attention = AttentionTiler(tiler, op)
                tiler.mapping.use(attention.what)
                attention.emit()
            case mfm.IntegerLayerNormOp() | mfm.IntegerRmsNormOp():
                rows.norm(tiler, op)
            case mfm.IntegerGeluOp():
                rows.gelu(tiler, op)
            case mfm.IntegerAddOp() | mfm.IntegerMultiplyOp():
                rows.elementwise(tiler, op)
            case mfm.RescaleOp():
                rows.rescale(tiler, op)
            case mfm.SliceOp():
                movement.slice_(tiler, op)
            case mfm.TransposeOp():
                movement.transpose(tiler, op)
            case ConcatenateOp():
                movement.concatenate(tiler, op)
            case BroadcastOp():
                movement.broadcast(tiler, op)
            case mfm.IntegerEmbeddingOp():
                lookup.integer_embedding(tiler, op)
            case mfm.EmbeddingOp():
                lookup.embedding(tiler, op)
            case mfm.CacheUpdateOp():
                in_place = tiler.is_placed(op.result) and (
                    tiler.dram(op.result) == tiler.dram(op.cache)
                )
                lookup.cache_update(tiler, op, in_place)
            case _:
                raise CompilationError(f"{tiler.location} has no machine code")
        self.layers.append(_describe(group))
        return [member.operation for member in group]


def _last_use(update: mfm.CacheUpdateOp) -> bool:
    """Whether nothing reads the old cache but its update."""
    return len(list(update.cache.uses)) == 1


def _bytes(value: ir.Value) -> int:
    """As DRAM holds it."""
    return int(np.prod(shape(value), dtype=np.int64)) * _itemsize(value)


def _row_bytes(table: ir.Value) -> int:
    return shape(root(table))[-1] * _itemsize(table)


def _itemsize(value: ir.Value) -> int:
    stored = STORED.get(element(value), element(value))
    return DTYPES[stored].itemsize


def _macs(op: ir.OpView) -> int:
    if isinstance(op, mfm.IntegerLinearOp | mfm.IntegerConv1dOp):
        return int(np.prod(shape(op.result), dtype=np.int64)) * shape(op.weight)[1]
    if isinstance(op, mfm.IntegerMatmulOp):
        return int(np.prod(shape(op.result), dtype=np.int64)) * shape(op.lhs)[-1]
    if isinstance(op, mfm.IntegerAttentionOp):
        batch, queries, heads, depth = shape(op.query)
        return batch * heads * queries * shape(op.key)[1] * (depth + shape(op.value)[3])
    return 0


def _describe(group: list[ir.OpView]) -> ir.DictAttr:
    """A row of the report: name, operations, MACs, compulsory bytes.

    Those are what the group reads from outside itself and writes for others, once each.
    """
    members = {member.operation for member in group}
    inside = {root(member.results[0]) for member in group}
    outside = {
        root(operand): root(operand)
        for member in group
        for operand in member.operands
        if root(operand) not in inside
    }
    moved = sum(
        _bytes(member.results[0])
        for member in group
        if any(reader.operation not in members for reader in readers(member.results[0]))
    )
    for member in group:
        if isinstance(member, mfm.EmbeddingOp | mfm.IntegerEmbeddingOp):
            # Of tables, only the rows looked up.
            for table in list(member.operands)[1:]:
                outside.pop(root(table), None)
                moved += _bytes(member.indices) // _itemsize(member.indices) * _row_bytes(table)
        if isinstance(member, mfm.CacheUpdateOp):
            outside.pop(root(member.cache), None)
            moved += _bytes(member.rows) - _bytes(member.result)
    moved += sum(_bytes(value) for value in outside.values())
    products = [each for each in group if _macs(each)]
    location = (products or group)[0].location
    name = location.name_str if isinstance(location, ir.NameLoc) else group[0].operation.name
    operation = " + ".join(m.operation.name.removeprefix("mfm.") for m in group)
    return _describe_layer(name, operation, sum(_macs(member) for member in group), moved)


def _describe_pass(region: NormedProductTiler, number: int) -> ir.DictAttr:
    """The row of one pass: what is read again in later passes is not compulsory."""
    rows, depth = region.rows, region.depth
    columns, moved = sum(part.count for part in region.passes[number]), 0.0
    if number == 0:
        moved += _bytes(region.norm.x) + _bytes(region.norm.parameters)
        moved += _bytes(region.norm.result) if region.is_kept else 0
    kinds = [region.norm.operation.name.removeprefix("mfm.")]
    for part in region.passes[number]:
        product, linear = region.what.products[part.product], region.linears[part.product]
        moved += part.count * (depth * product.weight_bytes + 12)
        moved += rows * part.count * (product.output_bytes + product.residual_bytes)
        group = [op for op in (linear.op, linear.gelu, linear.join) if op is not None]
        kinds += [op.operation.name.removeprefix("mfm.") for op in group]
    location = region.linears[region.passes[number][0].product].op.location
    name = location.name_str if isinstance(location, ir.NameLoc) else "integer_linear"
    return _describe_layer(name, " + ".join(kinds), rows * columns * depth, int(moved))


def _describe_layer(name: str, operation: str, macs: int, moved: int) -> ir.DictAttr:
    i64 = ir.IntegerType.get_signless(64)
    fields: dict[str, Any] = {
        "name": ir.StringAttr.get(name),
        "operation": ir.StringAttr.get(operation),
        "macs": ir.IntegerAttr.get(i64, macs),
        "compulsory_bytes": ir.IntegerAttr.get(i64, moved),
    }
    return ir.DictAttr.get(fields)
