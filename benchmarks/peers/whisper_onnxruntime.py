"""Quantizes Whisper with ONNX Runtime; executed by the Python of its own environment.

See peers/whisper.py for what goes in and out. Weights become int8 when the model is written;
activations when it runs, each with the range that it then has as a whole.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from whisper import Quantized, Row, halves, original, serve

RECIPES: dict[str, dict[str, Any]] = {
    "int8 dynamic": {"weight_type": QuantType.QInt8},
    "int8 dynamic, by channel": {"weight_type": QuantType.QInt8, "per_channel": True},
}


def exported(folder: Path, target: Path) -> list[Path]:
    """The encoder and the decoder as ONNX files."""
    model = original(folder)
    config = model.config
    features = torch.zeros(1, config.num_mel_bins, 2 * config.max_source_positions)
    hidden = torch.zeros(1, config.max_source_positions, config.d_model)
    tokens = torch.tensor([[config.decoder_start_token_id] * 3])
    encode, decode = halves(model)
    files = [target / "encode.onnx", target / "decode.onnx"]
    length = {1: torch.export.Dim("length", min=2, max=config.max_target_positions)}
    torch.onnx.export(encode, (features,), files[0], dynamo=True)
    torch.onnx.export(
        decode, (tokens, hidden), files[1], dynamo=True, dynamic_shapes=(length, None)
    )
    return files


def quantize(recipe: str, folder: Path) -> Quantized:
    size = 0
    sessions: list[Any] = []
    with tempfile.TemporaryDirectory() as saved:
        for file in exported(folder, Path(saved)):
            smaller = file.with_suffix(".int8.onnx")
            quantize_dynamic(file, smaller, **RECIPES[recipe])
            for tensor in onnx.load(smaller).graph.initializer:
                size += onnx.numpy_helper.to_array(tensor).nbytes
            sessions.append(onnxruntime.InferenceSession(smaller))
    encode, decode = sessions
    names = [each.name for each in decode.get_inputs()]

    def hear(features: Any) -> Row:
        (hidden,) = encode.run(None, {encode.get_inputs()[0].name: features})

        def row(tokens: Sequence[int]) -> Any:
            given = dict(zip(names, (np.array([tokens], np.int64), hidden), strict=True))
            return decode.run(None, given)[0][0]

        return row

    return Quantized(size, hear)


if __name__ == "__main__":
    serve(quantize)
