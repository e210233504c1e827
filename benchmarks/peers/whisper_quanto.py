"""Quantizes Whisper with optimum-quanto; executed by the Python of quanto's own environment.

See peers/whisper.py for what goes in and out. Weights of linear layers and their scales are stored;
quanto multiplies with them in float32.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

from pathlib import Path

from optimum import quanto
from whisper import Quantized, in_torch, original, serve

RECIPES = {"int8 weights": quanto.qint8, "int4 weights": quanto.qint4}


def quantize(recipe: str, folder: Path) -> Quantized:
    model = original(folder)
    quanto.quantize(model, weights=RECIPES[recipe])
    quanto.freeze(model)
    return in_torch(model)


if __name__ == "__main__":
    serve(quantize)
