#!/usr/bin/env bash
# Every open model that Tenku knows by name, with its real weights: from words, from a picture, extended, blended, in a
# circle; each file verified. And one check against the library itself: the same noise gives the same clip.
#
# Run: runs/open_models.sh [FOLDER] [MODEL...]   (default: runs/out/open_models, all; what is made already is kept)
# Needs: a CUDA GPU, pip install -c constraints.txt ".[models]", 15 to 130 GB of disk a model, their licences accepted
# Takes: not known, for nobody has run it (docs/engines.md); TENKU_ENGINE="offload=model tiling=on" for little memory
# Expect: "verified" in every line of report.txt, and clips that show what they were asked for: look at them
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/out/open_models}
shift || true
models=("$@")
if [ ${#models[@]} -eq 0 ]; then
    mapfile -t models < <(python -c 'from tenku.catalogue import LISTED; print("\n".join(LISTED))')
fi
mkdir -p "$out"
prompt="a red fishing boat crosses a calm bay at sunrise, gulls behind it"

# A line of the report: what was made, in how many seconds, whether its marks read back. A failure is a line, too.
one() {
    local file=$1 started=$SECONDS
    shift
    if [ -e "$file" ]; then return; fi
    if "$@" -o "$file" 2> "$file.log" && tenku verify "$file" > "$file.verified"; then
        echo "verified $file $((SECONDS - started)) s" | tee -a "$out/report.txt"
    else
        echo "FAILED $file: $(tail -n 1 "$file.log")" | tee -a "$out/report.txt"
    fi
}

tenku generate "a red ball on a beach" --size 256x144 --seconds 0 -o "$out/picture.png"
for model in "${models[@]}"; do
    to="$out/$model"
    mkdir -p "$to"
    one "$to/words.mp4" tenku generate "$prompt" --model "$model" --seed 1
    one "$to/picture.mp4" tenku generate "the ball rolls away" --model "$model" --image "$out/picture.png"
    one "$to/extended.mp4" tenku extend "$to/words.mp4" --model "$model" --seconds 2
    one "$to/before.mp4" tenku extend "$to/words.mp4" --model "$model" --seconds 2 --backwards
    one "$to/blended.mp4" tenku blend "$to/words.mp4" "$to/picture.mp4" --model "$model" --seconds 2
    one "$to/circle.mp4" tenku generate "$prompt" --loop --model "$model" --seconds 4
    python dev/open_models.py "$model" | tee -a "$out/report.txt"
done
grep -c FAILED "$out/report.txt" && exit 1 || exit 0
