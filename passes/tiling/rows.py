"""Operations that work row by row on their own: norms, gelu, add, multiply, rescale."""

from __future__ import annotations

from girih.dialects import mfm, npu
from girih.dialects.mfm.base import shape
from girih.dialects.npu.vector import SCALAR, UNCENTERED
from girih.passes.tiling.layer import LayerTiler, rows_and_columns
from girih.passes.tiling.row_tiler import Constant, RowTiler, Streams, repeats


def is_row_by_row(op: mfm.IntegerAddOp | mfm.IntegerMultiplyOp) -> bool:
    """Whether both sides broadcast by repeating whole rows, in steps that tiles can follow."""
    rows = rows_and_columns(op.result)[0]
    periods: set[int] = set()
    for side in (op.lhs, op.rhs):
        found = repeats(shape(side), shape(op.result))
        if found is None:
            return False
        block, times = found
        if times > 1 and block < rows:
            return False
        periods |= {times if times > 1 else block} - {1, rows}
    return len(periods) <= 1


def norm(tiler: LayerTiler, op: mfm.IntegerLayerNormOp | mfm.IntegerRmsNormOp) -> None:
    """integer_layer_norm or integer_rms_norm over blocks of whole rows."""
    uncentered = isinstance(op, mfm.IntegerRmsNormOp)

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            npu.LayerNormOp,
            [*streams.sources, streams.target, *streams.constants],
            rows,
            columns,
            flags=UNCENTERED if uncentered else 0,
            immediates=(op.epsilon.value, op.shift.value),
        )

    constant = Constant(op.parameters, *rows_and_columns(op.parameters))
    RowTiler(tiler, [op.x], op.result, [constant], splits=False).emit(compute)


def gelu(tiler: LayerTiler, op: mfm.IntegerGeluOp) -> None:
    """integer_gelu over blocks of rows."""

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            npu.GeluOp,
            [*streams.sources, streams.target, *streams.constants],
            rows,
            columns,
            immediates=gelu_immediates(op),
        )

    constants = [
        Constant(op.parameters, *rows_and_columns(op.parameters)),
        Constant(op.table, 1, rows_and_columns(op.table)[1], per_channel=False),
    ]
    RowTiler(tiler, [op.x], op.result, constants).emit(compute)


def gelu_immediates(op: mfm.IntegerGeluOp) -> tuple[int, int, int]:
    """Those of the instruction: from the input to the table, and the result that stands for 0."""
    return op.index_multiplier.value, op.index_shift.value, op.offset.value


def elementwise(tiler: LayerTiler, op: mfm.IntegerAddOp | mfm.IntegerMultiplyOp) -> None:
    """integer_add or integer_multiply over blocks of rows; a side of one row meets every row."""
    kind, immediates = join(op)

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            kind, [*streams.sources, streams.target], rows, columns, immediates=immediates
        )

    RowTiler(tiler, [op.lhs, op.rhs], op.result, []).emit(compute)


def join(
    op: mfm.IntegerAddOp | mfm.IntegerMultiplyOp,
) -> tuple[type[npu.AddOp | npu.MultiplyOp], tuple[int, ...]]:
    """The instruction that joins two tensors, and its immediates."""
    if isinstance(op, mfm.IntegerMultiplyOp):
        return npu.MultiplyOp, (op.multiplier.value, op.shift.value)
    return npu.AddOp, (op.lhs_multiplier.value, op.rhs_multiplier.value, op.shift.value)


def rescale(tiler: LayerTiler, op: mfm.RescaleOp) -> None:
    """Rescale over blocks of rows."""

    def compute(streams: Streams, rows: int, columns: int) -> None:
        tiler.emitter.emit(
            npu.RescaleOp,
            [*streams.sources, streams.target, None],
            rows,
            columns,
            flags=SCALAR,
            immediates=(0, op.multiplier.value, op.shift.value),
        )

    RowTiler(tiler, [op.x], op.result, []).emit(compute)
