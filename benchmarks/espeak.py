"""One sentence through espeak-ng's library.

    python espeak.py VOICE WORDS_PER_MINUTE PITCH < TEXT

Writes 16-bit mono PCM at 22,050 Hz to standard output. The library carries its filters over from
one sentence to the next, so that a sentence sounds the same each time only in a fresh process.
"""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys
from typing import Any

RATE = 22_050

_SYNCHRONOUS = 2
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_POSITION_IN_CHARACTERS = 1
_TEXT_IN_UTF8 = 1

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def say(text: str, voice: str, words_per_minute: int, pitch: int) -> bytes:
    """The samples of a sentence, spoken by a process of its own."""
    command = [sys.executable, __file__, voice, str(words_per_minute), str(pitch)]
    return subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout


def _synthesize(text: bytes, voice: str, words_per_minute: int, pitch: int) -> bytes:
    loader: Any = importlib.import_module("espeakng_loader")
    library = ctypes.CDLL(loader.get_library_path())
    pieces: list[bytes] = []

    @_Callback
    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
    if rate != RATE:
        raise SystemExit(f"espeak-ng speaks at {rate} Hz, expected {RATE}")
    library.espeak_SetSynthCallback(collect)
    if library.espeak_SetVoiceByName(voice.encode()):
        raise SystemExit(f"espeak-ng has no voice {voice!r}")
    library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
    closed = text + b"\0"
    if library.espeak_Synth(
        closed, len(closed), 0, _POSITION_IN_CHARACTERS, 0, _TEXT_IN_UTF8, None, None
    ):
        raise SystemExit(f"espeak-ng cannot say {text.decode()!r}")
    library.espeak_Synchronize()
    return b"".join(pieces)


if __name__ == "__main__":
    name, speed, height = sys.argv[1:]
    sys.stdout.buffer.write(_synthesize(sys.stdin.buffer.read(), name, int(speed), int(height)))
