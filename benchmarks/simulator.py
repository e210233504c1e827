"""Wall time of the simulated accelerator on a 30 s window: encoder, then the tokens, on data.

python benchmarks/simulator.py [--runs N] [--artifact m.girih] [--audio FILE]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from girih.compiler.artifact import load
from girih.compiler.models.speech import compile_whisper
from girih.runtime.audio import WINDOW_SECONDS, log_mel, read_audio, windows
from girih.runtime.generation import generate
from girih.runtime.report import Report
from girih.runtime.transcription import ENGLISH_RULES, CompiledSpeech

ROOT = Path(__file__).resolve().parent.parent
CALIBRATION = sorted((ROOT / "examples" / "data" / "calibration").glob("*.wav"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--artifact", type=Path, help="a compiled Whisper; compiled when left out")
    parser.add_argument("--audio", type=Path, default=ROOT / "examples" / "data" / "demo.wav")
    parser.add_argument("--target", default="edge")
    options = parser.parse_args()

    if options.artifact is None:
        program = compile_whisper(options.target, calibration_audio=CALIBRATION)
    else:
        program = load(options.artifact)
    features = log_mel(windows(read_audio(options.audio))[0])

    start = time.perf_counter()
    session = program.session("npu")
    model = CompiledSpeech(session)
    machine = program.runner.accelerator.machine
    print(
        f"target {program.executable.target.name}, kernels {machine.kernels}, "
        f"{machine.threads} threads; weights written in {time.perf_counter() - start:.2f} s"
    )
    encoder: list[float] = []
    tokens: list[float] = []
    said: list[int] = []
    for _ in range(options.runs):
        session.reports.clear()
        start = time.perf_counter()
        model.encode(features)
        middle = time.perf_counter()
        said = generate(model.decode, ENGLISH_RULES)
        end = time.perf_counter()
        encoder.append(middle - start)
        tokens.append(end - middle)
    encode, decode = (Report.merge(session.reports[name]) for name in ("encode", "decode"))
    for name, report, times in (("encoder", encode, encoder), ("tokens", decode, tokens)):
        median = statistics.median(times)
        print(
            f"{name:8} {median:7.3f} s   {report.macs / 1e9:7.2f} GMAC   "
            f"{report.macs / median / 1e9:7.1f} GMAC/s   {report.calls} calls   "
            f"simulated {1000 * report.seconds:.1f} ms"
        )
    whole = statistics.median(a + b for a, b in zip(encoder, tokens, strict=True))
    print(
        f"window of {WINDOW_SECONDS} s, {len(said)} tokens: {whole:.2f} s wall, "
        f"{WINDOW_SECONDS / whole:.1f} times real time"
    )
    start = time.perf_counter()
    cost = program["encode"].cost().report
    print(
        f"timing alone, encoder: {time.perf_counter() - start:.3f} s, "
        f"{'the same' if cost.cycles == encode.cycles else 'OTHER'} cycles ({cost.cycles:,})"
    )
    return 0 if cost.cycles == encode.cycles else 1


if __name__ == "__main__":
    sys.exit(main())
