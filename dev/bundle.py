"""Puts a run's averaged weights into the package, as bfloat16, with a model card.

    python dev/bundle.py runs/out/video runs/out/motion runs/out/codec/codec.safetensors \
        runs/out/lightfield/lightfield.safetensors runs/out/world runs/out/facts

The transformer's folder decides the encoder; another is refused. The light field may have learnt on since. The ledgers
that the weights name are taken from the folders of shards, and go with them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tenku.data.encoding import encoder_hash
from tenku.engines.bundled import BUNDLED
from tenku.model.checkpoint import read_header, sha256
from tenku.model.codec import Codec
from tenku.model.lightfield import LightField
from tenku.model.transformer import Transformer

FOLDER = BUNDLED / "nano"


def keep(kind: Any, path: Path) -> dict[str, str]:
    """Writes one network into the package; returns what its header says of its training."""
    facts = {k: v for k, v in read_header(path).items() if k not in ("kind", "config")}
    kind.load(path).save(FOLDER / path.name, facts, half=True)
    return facts


def main(video: Path, motion: Path, codec: Path, field: Path, *data: Path) -> None:
    """Writes tenku/weights/nano/{codec,lightfield,transformer,motion}.safetensors, ledgers/ and README.md."""
    if encoder_hash(Codec.load(codec)) != encoder_hash(Codec.load(video / "codec.safetensors")):
        sys.exit("error: the transformer was trained on another encoder")
    codec_facts, field_facts = keep(Codec, codec), keep(LightField, field)
    facts, motion_facts = (keep(Transformer, folder / f"{name}.safetensors")
                           for folder, name in ((video, "transformer"), (motion, "motion")))
    figures = json.loads(codec_facts["figures"])
    sizes = {name: sum(p.numel() for p in kind.load(FOLDER / f"{name}.safetensors").parameters()) / 1e6
             for name, kind in (("transformer", Transformer), ("motion", Transformer), ("lightfield", LightField))}
    named = [one.get("ledgers", "[]") for one in (codec_facts, field_facts, facts, motion_facts)]
    ledgers = sorted({digest for one in named for digest in json.loads(one)})
    (FOLDER / "ledgers").mkdir(exist_ok=True)
    for digest in ledgers:
        kept = (folder / "ledgers" / f"{digest}.json" for folder in data)
        shutil.copy(next(path for path in kept if path.exists()), FOLDER / "ledgers")
    hashes = "\n".join(f"| {path.name} | sha256 {sha256(path)} |" for path in sorted(FOLDER.glob("*.safetensors")))
    (FOLDER / "README.md").write_text(f"""# tenku-nano

The bundled model, trained from nothing in this repository, on two CPU cores, on clips that `tenku world make` rendered:
a codec, a network of {sizes["motion"]:.1f} M parameters that dreams motion from words, light fields of
{sizes["lightfield"]:.1f} M that sketch it, and a diffusion transformer of {sizes["transformer"]:.1f} M that paints upon
the sketch. Weights Apache-2.0; data CC0-1.0.

| what | figure |
|---|---|
| training FLOPs, transformer | {float(facts["flops"]):.2e} in {facts["steps"]} steps, after 1.69e15 before |
| training FLOPs, fields | {float(field_facts["flops"]):.2e} in {field_facts["steps"]} steps, after 3.60e14 before |
| training FLOPs, motion | {float(motion_facts["flops"]):.2e} in {motion_facts["steps"]} steps, after 2.32e14 before |
| training FLOPs, codec | {float(codec_facts["flops"]):.2e}, after 2.49e14 before |
| codec, held-out clips | {figures["psnr"]:.2f} dB (linear part alone {figures["linear_psnr"]:.2f} dB) |
| longest clip trained on | {facts["longest"]} latent steps |
| ledgers of data since there are such | {", ".join(f"ledgers/{digest}.json" for digest in ledgers)} |
{hashes}

How well it follows prompts, and the command that measures it: the repository's README. It knows the world's
subjects, colours, places, lights, actions and cameras (`tenku world sheet`) and nothing else: no people, no animals
but fish and butterflies, no text. Combinations that training never drew are listed in `tenku/world/grammar.py`.
""")
    print(FOLDER)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
