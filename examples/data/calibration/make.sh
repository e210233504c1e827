#!/usr/bin/env bash
# Makes the six calibration clips again: ./make.sh [FOLDER]  (default: this folder).
# Needs espeak-ng, and Python with NumPy and SciPy (PYTHON=..., default python3).
# The sentences are this project's own; none is in tests/data/speech or examples/data/demo.wav.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
out="${1:-$here}"
mkdir -p "$out"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

speak() { # speak NAME VOICE WORDS_PER_MINUTE PITCH TEXT
  espeak-ng -v "$2" -s "$3" -p "$4" -w "$scratch/$1.wav" "$5"
}

speak clip_1 en-us 140 45 "Good morning, and welcome to the harbour. The first boat to the island sails at half past nine."
speak clip_2 en-gb 110 30 "A river carries sand and stones for many miles before it meets the sea."
speak clip_3 en-us+f3 175 70 "If you mix yellow paint with a little blue, you get a bright and friendly green!"
speak clip_4 en-gb-scotland 150 55 "Numbers can surprise you: twelve times twelve is one hundred and forty four."
speak clip_5 en-us+m3 160 20 "Engineers measured the bridge in wind and rain, and then they measured it again."
speak clip_6 en-gb+f2 130 60 "Speak softly, the baby is asleep."

# Mono, 16 kHz, 16 bits. Peak at -3 dB, but for two: clip_5 has white noise 12 dB below the voice,
# and clip_6 is near silence (peak at -46 dB), for what a quiet room does to the first layers.
"${PYTHON:-python3}" - "$scratch" "$out" <<'PYTHON'
import math
import sys
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

source, target = map(Path, sys.argv[1:])
random = np.random.default_rng(20)
for path in sorted(source.glob("*.wav")):
    rate, samples = wavfile.read(path)
    common = math.gcd(rate, 16000)
    voice = resample_poly(samples.astype(np.float64), 16000 // common, rate // common)
    if path.stem == "clip_5":
        voice += random.normal(0, np.sqrt(np.mean(voice**2)) * 10 ** (-12 / 20), len(voice))
    peak = 10 ** ((-46 if path.stem == "clip_6" else -3) / 20)
    voice *= peak * 32767 / np.abs(voice).max()
    wavfile.write(target / path.name, 16000, np.rint(voice).astype(np.int16))
PYTHON
