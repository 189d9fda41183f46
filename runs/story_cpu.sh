#!/usr/bin/env bash
# The whole story at the size of a toy: a world is rendered, a codec and a transformer are trained on it, a clip is
# dreamt, sealed and verified. The model is too small and too young to show more than colours; every step is real.
#
# Run: runs/story_cpu.sh [FOLDER]      (default: runs/out/story; the same command goes on where one was stopped)
# Takes: about 2 minutes on two cores, 2 GB of memory, 20 MB of disk
# Expect: 96 clips without a problem; a codec above 20 dB; a falling loss; exit code 0 from verify
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/out/story}
mkdir -p "$out"

# A world: what the grammar can say, clips of it in shards, and a check of every caption and licence.
tenku world sheet --out "$out/grammar.png"
tenku world make --out "$out/world" --clips 96 --mix 64x48x17:3,48x64x17:1,64x48x1:1
tenku world check "$out/world"

# A codec (pixels to latents and back), light fields (what follows from where things are: a sketch), a transformer (noise to
# latents, under a prompt, upon the sketch), and what moves (from words).
tenku train codec --preset tiny --data "$out/world" --out "$out/codec" --steps 150 --batch 4 --crop 48
tenku train lightfield --data "$out/world" --out "$out/lightfield" --steps 60 --pictures 16
tenku train video --preset tiny --data "$out/world" --codec "$out/codec/codec.safetensors" --out "$out/video" \
    --field "$out/lightfield/lightfield.safetensors" --steps 200 --tokens 2048
tenku train motion --preset tiny --data "$out/world" --codec "$out/codec/codec.safetensors" --out "$out/motion" \
    --steps 200 --tokens 1024
cp "$out/motion/motion.safetensors" "$out/video/"

# Clips, sealed on their way to disk; then where they came from.
tenku generate "a red ball bouncing on a beach" --model "$out/video" --size 64x48 --seconds 1 -o "$out/ball.mp4"
tenku generate "a blue cube on the moon at night" --model "$out/video" --size 64x48 -o "$out/cube.png"
tenku verify "$out/ball.mp4"
tenku verify "$out/cube.png"
