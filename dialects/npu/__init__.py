"""The `npu` dialect, one engine a file."""

from girih.dialects.npu.base import Access, Instruction, Npu
from girih.dialects.npu.matrix import MatmulOp
from girih.dialects.npu.structure import AllocateOp, DramOp, LoopOp, ProgramOp
from girih.dialects.npu.transfer import DmaInOp, DmaOutOp
from girih.dialects.npu.vector import (
    AddOp,
    ExponentialOp,
    FillOp,
    FoldOp,
    GeluOp,
    LayerNormOp,
    MultiplyOp,
    NormalizeOp,
    RescaleOp,
    ScoresOp,
)

__all__ = [
    "Access",
    "AddOp",
    "AllocateOp",
    "DmaInOp",
    "DmaOutOp",
    "DramOp",
    "ExponentialOp",
    "FillOp",
    "FoldOp",
    "GeluOp",
    "Instruction",
    "LayerNormOp",
    "LoopOp",
    "MatmulOp",
    "MultiplyOp",
    "NormalizeOp",
    "Npu",
    "ProgramOp",
    "RescaleOp",
    "ScoresOp",
]
