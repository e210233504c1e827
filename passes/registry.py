"""Every pass by its name: what `girih-opt` offers."""

from __future__ import annotations

from girih.passes.allocate import Allocate
from girih.passes.arrange_dram import ArrangeDram
from girih.passes.assume_ranges import AssumeRanges
from girih.passes.base import Pass
from girih.passes.boolean_masks import BooleanMasks
from girih.passes.calibrate import Calibrate
from girih.passes.check_target import CheckTarget
from girih.passes.convert_mfm_to_linalg import ConvertMfmToLinalg
from girih.passes.convert_torch_to_mfm import ConvertTorchToMfm
from girih.passes.fold_attention_scale import FoldAttentionScale
from girih.passes.fold_constants import FoldConstants
from girih.passes.lower_torch_fallback import LowerTorchFallback
from girih.passes.partition import Partition
from girih.passes.peel import Peel
from girih.passes.prune_heads import PruneHeads
from girih.passes.prune_hidden import PruneHidden
from girih.passes.quantize import Quantize
from girih.passes.recognize_activations import RecognizeActivations
from girih.passes.recognize_attention import RecognizeAttention
from girih.passes.recognize_rms_norm import RecognizeRmsNorm
from girih.passes.remove_blocks import RemoveBlocks
from girih.passes.shard_tensors import ShardTensors
from girih.passes.simplify import Simplify
from girih.passes.sparsify import Sparsify
from girih.passes.split_biased_attention import SplitBiasedAttention
from girih.passes.split_hidden import SplitHidden
from girih.passes.synchronize import Synchronize
from girih.passes.tile import Tile
from girih.passes.widen_parameters import WidenParameters

PASSES: dict[str, type[Pass]] = {
    each.name: each
    for each in (
        ConvertTorchToMfm,
        FoldConstants,
        RecognizeActivations,
        RecognizeRmsNorm,
        RecognizeAttention,
        Simplify,
        FoldAttentionScale,
        RemoveBlocks,
        PruneHeads,
        PruneHidden,
        Sparsify,
        BooleanMasks,
        SplitBiasedAttention,
        SplitHidden,
        CheckTarget,
        Calibrate,
        AssumeRanges,
        Quantize,
        ShardTensors,
        Partition,
        WidenParameters,
        ConvertMfmToLinalg,
        LowerTorchFallback,
        Tile,
        Peel,
        Allocate,
        ArrangeDram,
        Synchronize,
    )
}
