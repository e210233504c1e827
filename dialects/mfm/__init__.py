"""The `mfm` dialect, one operation family a file."""

from girih.dialects.mfm.activation import GeluOp, IntegerGeluOp
from girih.dialects.mfm.assembly import BroadcastOp, ConcatenateOp, PadOp
from girih.dialects.mfm.attention import AttentionOp, IntegerAttentionOp
from girih.dialects.mfm.base import Mfm, Operation
from girih.dialects.mfm.binary import BinaryOp
from girih.dialects.mfm.cache import CacheUpdateOp
from girih.dialects.mfm.convolution import Conv1dOp, IntegerConv1dOp
from girih.dialects.mfm.elementwise import AddOp, CompareOp, IntegerAddOp, MultiplyScalarOp
from girih.dialects.mfm.embedding import EmbeddingOp, IntegerEmbeddingOp
from girih.dialects.mfm.gather import GatherOp, MaskedScatterOp, ScatterRowsOp, TakeOp
from girih.dialects.mfm.integer_matmul import IntegerMatmulOp
from girih.dialects.mfm.integer_multiply import IntegerMultiplyOp
from girih.dialects.mfm.integer_rms_norm import IntegerRmsNormOp
from girih.dialects.mfm.linear import IntegerLinearOp, LinearOp
from girih.dialects.mfm.matmul import MatmulOp
from girih.dialects.mfm.normalization import IntegerLayerNormOp, LayerNormOp, RmsNormOp
from girih.dialects.mfm.packed import UnpackOp
from girih.dialects.mfm.parameter import ParameterOp
from girih.dialects.mfm.patches import PatchesOp
from girih.dialects.mfm.quantization import DequantizeOp, QuantizeOp, RescaleOp
from girih.dialects.mfm.reduction import ArgmaxOp, CumulativeSumOp, ReduceOp
from girih.dialects.mfm.selection import ConvertOp, SelectOp
from girih.dialects.mfm.shaping import ReshapeOp, SliceOp, TransposeOp
from girih.dialects.mfm.softmax import SoftmaxOp
from girih.dialects.mfm.unary import UnaryOp

__all__ = [
    "AddOp",
    "ArgmaxOp",
    "AttentionOp",
    "BinaryOp",
    "BroadcastOp",
    "CacheUpdateOp",
    "CompareOp",
    "ConcatenateOp",
    "Conv1dOp",
    "ConvertOp",
    "CumulativeSumOp",
    "DequantizeOp",
    "EmbeddingOp",
    "GatherOp",
    "GeluOp",
    "IntegerAddOp",
    "IntegerAttentionOp",
    "IntegerConv1dOp",
    "IntegerEmbeddingOp",
    "IntegerGeluOp",
    "IntegerLayerNormOp",
    "IntegerLinearOp",
    "IntegerMatmulOp",
    "IntegerMultiplyOp",
    "IntegerRmsNormOp",
    "LayerNormOp",
    "LinearOp",
    "MaskedScatterOp",
    "MatmulOp",
    "Mfm",
    "MultiplyScalarOp",
    "Operation",
    "PadOp",
    "ParameterOp",
    "PatchesOp",
    "QuantizeOp",
    "ReduceOp",
    "RescaleOp",
    "ReshapeOp",
    "RmsNormOp",
    "ScatterRowsOp",
    "SelectOp",
    "SliceOp",
    "SoftmaxOp",
    "TakeOp",
    "TransposeOp",
    "UnaryOp",
    "UnpackOp",
]
