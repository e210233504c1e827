"""Compresses Whisper's weights with NNCF and runs it on OpenVINO, in an environment of their own.

See peers/whisper.py for what goes in and out. What runs is what was saved: OpenVINO's file holds
the weights that NNCF leaves alone in float16. All of it is computed in float32 where the CPU also
has bfloat16; whether activations are quantized is left to OpenVINO, and the note says it.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
import torch
from whisper import Quantized, Row, halves, original, serve

MODE = nncf.CompressWeightsMode
RECIPES: dict[str, dict[str, Any]] = {
    "int8 weights": {"mode": MODE.INT8_ASYM},
    "int4 weights": {"mode": MODE.INT4_ASYM},
    "int4 weights, all, groups of 32": {
        "mode": MODE.INT4_SYM,
        "all_layers": True,
        "group_size": 32,
    },
}
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}
GROUP = "DYNAMIC_QUANTIZATION_GROUP_SIZE"


def quantize(recipe: str, folder: Path) -> Quantized:
    model = original(folder)
    config = model.config
    features = torch.zeros(1, config.num_mel_bins, 2 * config.max_source_positions)
    hidden = torch.zeros(1, config.max_source_positions, config.d_model)
    tokens = torch.tensor([[config.decoder_start_token_id] * 3])
    encode, decode = halves(model)
    length = {1: torch.export.Dim("length", min=2, max=config.max_target_positions)}
    programs = (
        torch.export.export(encode, (features,)),
        torch.export.export(decode, (tokens, hidden), dynamic_shapes=(length, None)),
    )
    core, size = openvino.Core(), 0
    compiled: list[Any] = []
    with tempfile.TemporaryDirectory() as saved:
        for number, program in enumerate(programs):
            converted = openvino.convert_model(program)
            file = Path(saved) / f"{number}.xml"
            openvino.save_model(nncf.compress_weights(converted, **RECIPES[recipe]), file)
            size += file.with_suffix(".bin").stat().st_size
            compiled.append(core.compile_model(core.read_model(file), "CPU", SETTINGS))

    def hear(features: Any) -> Row:
        hidden = compiled[0](features)[0].copy()

        def row(tokens: Sequence[int]) -> Any:
            return compiled[1]([np.array([tokens], np.int64), hidden])[0][0].copy()

        return row

    group = compiled[1].get_property(GROUP)
    return Quantized(size, hear, f"{GROUP} {group}")


if __name__ == "__main__":
    serve(quantize)
