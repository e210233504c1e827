"""Which neighbouring layers could run as one region: a norm and the products around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import zip_longest

from torch_mlir import ir

from girih.dialects import mfm
from girih.dialects.mfm.base import element, shape
from girih.passes.tiling.cost import Product
from girih.passes.tiling.epilogue import Epilogue, JoinOp
from girih.passes.tiling.layer import LayerTiler, is_packed, root, rows_and_columns

NormOp = mfm.IntegerLayerNormOp | mfm.IntegerRmsNormOp


@dataclass(frozen=True)
class Linear:
    """A linear operation with what follows it on chip."""

    op: mfm.IntegerLinearOp
    gelu: mfm.IntegerGeluOp | None
    join: JoinOp | None

    @property
    def members(self) -> list[ir.OpView]:
        """All of its operations, in order."""
        return [each for each in (self.op, self.gelu, self.join) if each is not None]

    @property
    def result(self) -> ir.Value:
        """What leaves the product."""
        return self.members[-1].results[0]


@dataclass(frozen=True)
class Chain:
    """[before ->] norm -> linears [-> afters], as `row_block_cost.RowBlock` describes them."""

    before: Linear | None
    norm: NormOp
    linears: tuple[Linear, ...]
    afters: tuple[Linear, ...]
    is_kept: bool

    @property
    def members(self) -> list[ir.OpView]:
        """All operations, in an order in which they could run."""
        found = [] if self.before is None else list(self.before.members)
        found.append(self.norm)
        for linear, after in zip_longest(self.linears, self.afters):
            found += linear.members
            found += [] if after is None else after.members
        return found


def describe(tiler: LayerTiler, linear: Linear, rows: int) -> Product:
    """A linear operation and what follows it, as they would be alone."""
    epilogue = Epilogue(tiler, linear.op, linear.gelu, linear.join)
    columns, depth = shape(linear.op.weight)
    return Product(
        rows=rows,
        columns=columns,
        depth=depth,
        output_bytes=epilogue.output_bytes,
        activation=linear.gelu is not None,
        residual_bytes=epilogue.other_bytes,
        is_packed=is_packed(linear.op.weight),
    )


def chain_from(op: ir.OpView) -> Chain | None:
    """The longest chain that begins with an operation: a norm, or a linear that a norm follows."""
    if isinstance(op, NormOp):
        return _after_norm(op, None, op)
    if not isinstance(op, mfm.IntegerLinearOp):
        return None
    before = linear_at(op)
    if before.gelu is not None or element(before.result) != "i16":
        return None
    norms = [each for each in readers(before.result) if isinstance(each, NormOp)]
    if len(norms) != 1 or root(norms[0].x) != root(before.result):
        return None
    if rows_and_columns(norms[0].x) != rows_and_columns(before.result):
        return None
    return _after_norm(norms[0], before, op)


def _after_norm(norm: NormOp, before: Linear | None, first: ir.OpView) -> Chain | None:
    if element(norm.result) != "i8":
        return None
    linears, others = list[Linear](), 0
    made = set[ir.Value]() if before is None else {root(before.result)}
    for reader in sorted(readers(norm.result), key=cmp_to_key(_by_position)):
        linear = linear_at(reader) if isinstance(reader, mfm.IntegerLinearOp) else None
        # A reshape between them may join rows, of which not all are in one block.
        alike = linear is not None and rows_and_columns(linear.op.x) == rows_and_columns(norm.x)
        if linear is not None and alike and _is_ready(linear, first, made):
            linears.append(linear)
        else:
            others += 1
    if not linears:
        return None
    afters = _afters(linears, norm, first, made)
    if len(afters) > 1 and before is not None and len(list(readers(before.result))) > 2:
        afters = ()
    return Chain(before, norm, tuple(linears), afters, others > 0)


def _afters(
    linears: list[Linear], norm: NormOp, first: ir.OpView, made: set[ir.Value]
) -> tuple[Linear, ...]:
    """The products that each alone read one of the linears' results.

    Of several, the first is joined to what is normalized and each other one to the one before it:
    the groups of `split-hidden`. Only the last result may be read elsewhere.
    """
    afters = list[Linear]()
    made = set(made)
    for linear in linears:
        following = list(readers(linear.result))
        if element(linear.result) != "i8" or len(following) != 1:
            return ()
        if not isinstance(following[0], mfm.IntegerLinearOp):
            return ()
        after = linear_at(following[0])
        alike = rows_and_columns(after.op.x) == rows_and_columns(linear.result)
        if not alike or not _is_ready(after, first, made):
            return ()
        afters.append(after)
        made.add(root(after.result))
    if len(afters) > 1 and not _is_a_sum(linears, afters, norm):
        return ()
    return tuple(afters)


def _is_a_sum(linears: list[Linear], afters: list[Linear], norm: NormOp) -> bool:
    """Whether groups of one width add their products to a residual stream of 16 bits in turn."""
    total = root(norm.x)
    for after in afters:
        if not isinstance(after.join, mfm.IntegerAddOp) or after.gelu is not None:
            return False
        if other_side(after.join, after.op) != total or element(after.result) != "i16":
            return False
        total = root(after.result)
    inner = [len(list(readers(after.result))) == 1 for after in afters[:-1]]
    widths = {shape(linear.op.weight) for linear in linears}
    kinds = {tuple(type(each) for each in linear.members) for linear in linears}
    return all(inner) and len(widths) == len(kinds) == 1


def _is_ready(linear: Linear, first: ir.OpView, made: set[ir.Value]) -> bool:
    """Whether what is joined exists when the region begins, or is one of the values made in it."""
    if linear.join is None:
        return True
    other = other_side(linear.join, linear.gelu or linear.op)
    return other in made or defined_before(other, first)


def linear_at(op: mfm.IntegerLinearOp) -> Linear:
    """A linear operation with what alone reads its result and can follow it on chip."""
    return Linear(op, *epilogue(op))


def epilogue(op: ir.OpView) -> tuple[mfm.IntegerGeluOp | None, JoinOp | None]:
    """The gelu and the addition or multiplication that alone read a product's result."""
    result, gelu, join = op.results[0], None, None
    user = _single_user(result)
    if isinstance(user, mfm.IntegerGeluOp):
        gelu, result = user, user.result
        user = _single_user(result)
    if isinstance(user, JoinOp) and shape(user.lhs) == shape(user.rhs):
        # The other side must exist before the product begins.
        other = other_side(user, gelu or op)
        if root(user.lhs) != root(user.rhs) and defined_before(other, op):
            join = user
    return gelu, join


def other_side(join: JoinOp, op: ir.OpView) -> ir.Value:
    """What is added to, or multiplied with, an operation's result."""
    return root(join.rhs if join.lhs == op.results[0] else join.lhs)


def readers(value: ir.Value) -> Iterator[ir.OpView]:
    """Operations that read a tensor, reshaped or not."""
    for use in value.uses:
        reader = use.owner.operation.opview
        if isinstance(reader, mfm.ReshapeOp):
            yield from readers(reader.result)
        else:
            yield reader


def defined_before(value: ir.Value, op: ir.OpView) -> bool:
    """Whether a value exists when an operation begins."""
    owner = value.owner
    if isinstance(owner, ir.Block) or isinstance(owner.opview, mfm.ParameterOp | mfm.UnpackOp):
        return True
    return owner.is_before_in_block(op.operation)


def _by_position(first: ir.OpView, second: ir.OpView) -> int:
    return -1 if first.operation.is_before_in_block(second.operation) else 1


def _single_user(value: ir.Value) -> ir.OpView | None:
    uses = list(value.uses)
    return uses[0].owner.operation.opview if len(uses) == 1 else None
