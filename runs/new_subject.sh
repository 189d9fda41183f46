#!/usr/bin/env bash
# Teaches the bundled model a subject that it does not know, a horse, and measures what it makes of it before and after:
# 96 rendered clips, a word and small matrices that learn (LoRA), a probe that is taught the horse from truth alone.
#
# Run: runs/new_subject.sh [FOLDER]      (default: runs/out/horse; the same command goes on where one was stopped)
# Needs: pip install -c constraints.txt ".[tune]"
# Takes: about 17 minutes on one core (clips 1, learning 4, probe 5, 320 samples 7)
# Expect: taken for a horse in under 10 % of samples before, in 80 % or more after; nothing else changed by more than
#   3 points; exit code 0
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/out/horse}
mkdir -p "$out"

python runs/new_subject.py clips "$out/clips"
tenku tune lora --data "$out/clips" --out "$out/tuned" ${STEPS:+--steps "$STEPS"}
[ -e "$out/horse.safetensors" ] || python runs/new_subject.py probe "$out/horse.safetensors"
python runs/new_subject.py measure "$out" "$out/horse.safetensors" "$out/tuned/adapter.safetensors" | tee "$out/report.txt"

# With the adapter, and merged: the same clip.
asked="a large brown horse spins in a meadow at sunset, the camera is static"
tenku generate "$asked" --lora "$out/tuned/adapter.safetensors" --seed 1 -o "$out/horse.mp4"
[ -e "$out/merged" ] || tenku tune merge "$out/tuned/adapter.safetensors" --out "$out/merged"
tenku generate "$asked" --model "$out/merged" --seed 1 -o "$out/merged.mp4"
tenku verify "$out/horse.mp4"
