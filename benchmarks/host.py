"""Latency of the Whisper encoder on the host: girih w8a8 on IREE beside PyTorch eager float32.

    python benchmarks/host.py [--runs N] [--artifact m.girih]

Two threads each. Runs alternate, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from girih.compiler.artifact import load
from girih.compiler.models.speech import EagerSpeech, compile_whisper
from girih.runtime.audio import log_mel, read_audio

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION = sorted((ROOT / "examples" / "data" / "calibration").glob("*.wav"))
THREADS = 2


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def line(name: str, times: list[float]) -> None:
    spread = f"{min(times):.4f} to {max(times):.4f}"
    print(f"{name:28} median {statistics.median(times):.4f} s   ({spread} s)")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--artifact", type=Path, help="a compiled Whisper; compiled when left out")
    parser.add_argument("--target", default="edge")
    options = parser.parse_args()

    torch.set_num_threads(THREADS)
    features = log_mel(read_audio(ROOT / "examples" / "data" / "demo.wav"))
    eager = EagerSpeech()
    if options.artifact is None:
        program = compile_whisper(options.target, calibration_audio=CALIBRATION)
    else:
        program = load(options.artifact)
    signature = program["encode"].entry.signature
    host = program.runner.iree

    def run_eager() -> None:
        eager.encode(features)

    def run_compiled() -> None:
        outputs = host.call("encode", *signature.store((features,), states=False), resident=True)
        np.asarray(outputs[0])  # results stay on the device; reading one waits for all

    calls = {"PyTorch eager float32": run_eager, "girih w8a8 on IREE": run_compiled}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(options.runs + 2):
        for name, call in calls.items():
            spent = seconds(call)
            if number >= 2:  # the first two warm caches and thread pools
                times[name].append(spent)
    print(
        f"Whisper tiny.en encoder, one window of 30 s, {THREADS} threads, {options.runs} runs each"
    )
    for name, spent in times.items():
        line(name, spent)
    eager_median, compiled_median = (statistics.median(spent) for spent in times.values())
    print(f"PyTorch / girih: {eager_median / compiled_median:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
