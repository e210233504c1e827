"""What models of any size cost, from their shapes alone: no weights, bounded memory.

    python benchmarks/any_size.py [--target edge] [--models LLaVA-1.5-7B ...] [--layers 2 4 8 16 32]

Each model is estimated in a process of its own. DRAM is taken to be as large as the model needs;
all else is the target's. Then Llama-7B-shaped decode steps of more and more layers are timed, a
straight line is fitted, and build/any_size/layers.svg draws it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from layers import plot

import girih

FOLDER = Path(__file__).resolve().parent.parent / "build" / "any_size"
Example = tuple[Any, dict[str, torch.Tensor], int]
"""A model on the meta device, a prompt, and the length of the cache."""


def llava(layers: int = 32) -> Example:
    """CLIP ViT-L/14 at 336 pixels, Llama 7B: 576 image and 64 text tokens."""
    vision = hf.CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    text = hf.LlamaConfig(num_hidden_layers=layers, vocab_size=32064)
    image: dict[str, Any] = {"image_token_id": 32000}
    config = hf.LlavaConfig(vision_config=vision, text_config=text, **image)
    tokens = torch.tensor([[1] * 32 + [32000] * 576 + [5] * 32])
    pixels = torch.empty(1, 3, 336, 336, device="meta")
    model = on_meta(hf.LlavaForConditionalGeneration, config)
    return model, {"input_ids": tokens, "pixel_values": pixels}, 1024


def whisper() -> Example:
    """Whisper large v3: 32 and 32 layers of width 1280, 128 mel bands, 448 positions."""
    config = hf.WhisperConfig(
        d_model=1280,
        encoder_layers=32,
        decoder_layers=32,
        encoder_attention_heads=20,
        decoder_attention_heads=20,
        encoder_ffn_dim=5120,
        decoder_ffn_dim=5120,
        num_mel_bins=128,
        vocab_size=51866,
    )
    model = on_meta(hf.WhisperForConditionalGeneration, config)
    return model, {"input_features": torch.empty(1, 128, 3000, device="meta")}, 448


def smolvlm() -> Example:
    """SigLIP B/16 at 512 pixels, 30 layers of width 576: 64 image and 64 text tokens."""
    config = hf.SmolVLMConfig(
        vision_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 512,
            "patch_size": 16,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "vocab_size": 49280,
        },
        image_token_id=49190,
        scale_factor=4,
    )
    tokens = torch.tensor([[1] * 32 + [49190] * 64 + [5] * 32])
    pixels = torch.empty(1, 1, 3, 512, 512, device="meta")
    model = on_meta(hf.SmolVLMForConditionalGeneration, config)
    return model, {"input_ids": tokens, "pixel_values": pixels}, 1024


MODELS: Mapping[str, Callable[[], Example]] = {
    "LLaVA-1.5-7B": llava,
    "Whisper-large-v3": whisper,
    "SmolVLM-256M": smolvlm,
}


def on_meta(kind: type[Any], config: Any) -> Any:
    """A model without weights."""
    with torch.device("meta"):
        return kind(config).eval()


def roomy(name: str) -> girih.Target:
    """The target, with DRAM for every model."""
    target = girih.Target.load(name)
    dram = target.dram.model_copy(update={"capacity_bytes": 2**36})
    return target.model_copy(update={"dram": dram})


def measure(name: str, target: str) -> dict[str, Any]:
    """Estimate one model here and now."""
    start = time.perf_counter()
    model, prompt, length = MODELS[name]()
    reports = girih.estimate_generator(model, prompt, cache_length=length, target=roomy(target))
    spent = time.perf_counter() - start
    return {
        "seconds": spent,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "entries": {entry: row(report) for entry, report in reports.items()},
    }


def row(report: girih.Report) -> dict[str, float]:
    """The columns of the table."""
    return {
        "cycles": report.cycles,
        "seconds": report.seconds,
        "dram": report.dram_read_bytes + report.dram_write_bytes,
        "joules": report.energy_joules,
        "busy": report.utilization,
        "roofline": report.cycles / report.roofline_cycles,
    }


def seconds(layers: int, target: str) -> dict[str, float]:
    """Time of one estimate of a decode step at context 1024, of a Llama-7B-shaped model."""
    from llama import Size, decode_entry

    size = Size(layers, 4096, heads=32, key_heads=32, intermediate=11008)
    model = on_meta(hf.LlamaForCausalLM, size.config)
    start = time.perf_counter()
    (report,) = girih.estimate({"decode": decode_entry(model, 1024)}, target=roomy(target)).values()
    return {"seconds": time.perf_counter() - start, "cycles": report.cycles}


def in_process(*words: str) -> Any:
    """Do one piece of work in a process of its own, whose memory is its own."""
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.decode().strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="edge")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--layers", type=int, nargs="*", default=[2, 4, 8, 16, 32])
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        warnings.simplefilter("ignore")
        kind, what = options.work
        measured = measure if kind == "model" else lambda n, t: seconds(int(n), t)
        print(json.dumps(measured(what, options.target)))
        return
    for name in options.models:
        show(name, in_process("--work", "model", name, "--target", options.target))
    if options.layers:
        scale(sorted(options.layers), options.target)


def show(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: estimated in {found['seconds']:.0f} s, peak memory {found['peak']:.2f} GB")
    heads = ("cycles", "time", "DRAM", "energy", "busy", "x roofline", "tokens/s")
    print("  " + f"{'':14}" + "".join(f"{head:>12}" for head in heads))
    for entry, each in found["entries"].items():
        tokens = 1 if entry == "decode" else int(entry.partition("_")[2] or 0)
        rate = f"{tokens / each['seconds']:.2f}" if tokens else ""
        print(
            f"  {entry:14}{each['cycles'] / 1e6:10.1f} M{each['seconds'] * 1e3:9.1f} ms"
            f"{each['dram'] / 1e9:9.3f} GB{each['joules']:10.3f} J{each['busy']:12.1%}"
            f"{each['roofline']:12.3f}{rate:>12}"
        )


def scale(layers: list[int], target: str) -> None:
    found = [in_process("--work", "layers", str(count), "--target", target) for count in layers]
    spent = [each["seconds"] for each in found]
    slope, constant = np.polyfit(layers, spent, 1)
    error = np.abs(np.polyval([slope, constant], layers) - spent).max()
    cycles, base = np.polyfit(layers, [each["cycles"] for each in found], 1)
    print("decode step of a Llama-7B-shaped model, by layers:")
    for count, each in zip(layers, found, strict=True):
        print(f"  {count:4} layers{each['seconds']:8.1f} s{each['cycles'] / 1e6:10.1f} M cycles")
    print(f"  estimating takes {constant:.1f} s + {slope:.2f} s a layer, within {error:.1f} s")
    print(f"  the step takes {base / 1e6:.2f} M + {cycles / 1e6:.3f} M cycles a layer")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "layers.svg"
    path.write_text(plot(layers, {"w8a8": spent}))
    print(f"drawn in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
