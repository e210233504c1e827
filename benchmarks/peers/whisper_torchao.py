"""Quantizes Whisper with torchao; executed by the Python of torchao's own environment.

See peers/whisper.py for what goes in and out. `quantize_` replaces the weights of all linear
layers, the last one's too, whose table the embedding then no longer shares.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

from pathlib import Path

import torch
from torchao import quantization
from whisper import Quantized, in_torch, original, serve

RECIPES = {
    "int8 weights": lambda: quantization.Int8WeightOnlyConfig(),
    "int8 dynamic": lambda: quantization.Int8DynamicActivationInt8WeightConfig(),
    "int4 weights": lambda: quantization.Int4WeightOnlyConfig(
        group_size=32, int4_packing_format="opaque"
    ),
    "intx 4 weights": lambda: quantization.IntxWeightOnlyConfig(
        weight_dtype=torch.int4, granularity=quantization.granularity.PerGroup(32)
    ),
}


def quantize(recipe: str, folder: Path) -> Quantized:
    model = original(folder)
    quantization.quantize_(model, RECIPES[recipe]())
    return in_torch(model)


if __name__ == "__main__":
    serve(quantize)
