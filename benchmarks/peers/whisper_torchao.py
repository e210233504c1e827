"""Quantizes Whisper with torchao; executed by the Python of torchao's own environment.

See peers/whisper.py for what goes in and out. `quantize_` replaces the weights of all linear
layers, the last one's too, whose table the embedding then no longer shares.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torchao import quantization
from torchao.prototype.quantization import int4
from whisper import Quantized, in_torch, original, serve

RECIPES = {
    "int8 weights": quantization.Int8WeightOnlyConfig(),
    "int8 dynamic": quantization.Int8DynamicActivationInt8WeightConfig(),
    # The released format of 4 bits is for GPUs alone.
    "int4 weights": int4.PrototypeInt4WeightOnlyConfig(group_size=32),
    "int8 dynamic, int4 weights": int4.Int8DynamicActivationInt4WeightConfig(group_size=32),
}


def quantize(recipe: str, folder: Path) -> Quantized:
    model = original(folder)
    if recipe == "int4 weights":
        quantization.quantize_(model, RECIPES[recipe], filter_fn=_fits)
        return in_torch(
            model, "the last layer stays float32: its kernel needs 16 columns at a time"
        )
    quantization.quantize_(model, RECIPES[recipe])
    return in_torch(model, "")


def _fits(module: Any, name: str) -> bool:
    return isinstance(module, torch.nn.Linear) and module.out_features % 16 == 0


if __name__ == "__main__":
    serve(quantize)
