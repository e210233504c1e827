#!/usr/bin/env bash
# Makes every WAV file of transcripts.tsv again: ./make.sh [FOLDER]  (default: this folder).
# Needs espeak-ng and sox. Without dither, so that the same versions give the same bytes.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
out="${1:-$here}"
mkdir -p "$out"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

speak() { # speak VOICE TEXT OUTPUT
  espeak-ng -v "$1" -s 140 -p 45 -w "$scratch/raw.wav" "$2"
  sox -D "$scratch/raw.wav" -r 16000 -c 1 -b 16 "$3" norm -3
}

number=0
while IFS=$'\t' read -r file text; do
  number=$((number + 1))
  # Two voices in turn, so that a test does not hear one accent only.
  if ((number % 2)); then voice=en-us; else voice=en-gb; fi
  speak "$voice" "$text" "$out/$file"
done < "$here/transcripts.tsv"

# The clip of `make demo`.
if [ $# -eq 0 ]; then
  demo="$here/../../../examples/data/demo.wav"
  mkdir -p "$(dirname "$demo")"
  speak en-us "Every pattern on this wall was made from five simple tiles." "$demo"
fi
