"""Clips of weights that were bundled once, made by the code of their day, for `tenku eval classifier`.

Run: python dev/bench/oldmodels.py REVISION... --data WORLD --out FOLDER_OF_THE_EVALUATION [--limit 100]
Adds rows with the revision as their model to FOLDER/rows.jsonl; the same `tenku eval classifier` then has them in its
tables. The pictures have no marks: they come through a pipe and are never written. Takes a second or two a clip.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tenku.data.shards import iter_clips
from tenku.evaluation.classifying import MATCHED, SEED, ways
from tenku.provenance.classifier import load
from tenku.rng import stream

REPO = Path(__file__).resolve().parents[2]
CHILD = """
import json, sys
from tenku.sampling.generate import generate
for line in sys.stdin:
    [result] = generate(**json.loads(line))
    sys.stdout.buffer.write(result.clip.frames.tobytes())
    sys.stdout.buffer.flush()
"""


def main() -> None:
    """One revision after the other; rows that are there already are left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    args = parser.parse_args()
    rows = args.out / "rows.jsonl"
    known = rows.read_text().splitlines() if rows.exists() else []
    there = {(row["clip"], row["model"]) for row in map(json.loads, known)}
    for revision in args.revisions:
        with tempfile.TemporaryDirectory() as folder, rows.open("a") as file:
            archive = subprocess.check_output(["git", "archive", revision, "tenku"], cwd=REPO)
            subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
            child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=folder, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, env={"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"})
            assert child.stdin
            assert child.stdout
            for _, item in zip(range(args.limit), iter_clips(args.data), strict=False):
                if (item.key, revision) in there:
                    continue
                shape = item.clip.frames.shape
                draw = stream(SEED, "classifier", "dreamt", item.key)  # words and seed of the twin that nano makes
                words = item.facts["captions"][("few", "sentence", "everything")[int(draw.integers(3))]]
                asked = {"prompt": words, "size": f"{shape[2]}x{shape[1]}", "fps": item.clip.fps, "steps": 20,
                         "seconds": (shape[0] - 1) / item.clip.fps, "seed": int(draw.integers(2**31))}
                child.stdin.write(json.dumps(asked).encode() + b"\n")
                child.stdin.flush()
                data = child.stdout.read(int(np.prod(shape)))
                frames = np.frombuffer(data, np.uint8).reshape(shape)
                [(_, size, seen)] = ways(frames, item.key, False)
                row = {"clip": item.key, "kind": 0, "way": MATCHED, "model": revision, "bytes": size,
                       "shape": list(shape[:3]), "score": round(load().look(seen).score, 4)}
                file.write(json.dumps(row) + "\n")
                file.flush()
            child.stdin.close()
            child.wait(60)
        print(revision, flush=True)


if __name__ == "__main__":
    main()
