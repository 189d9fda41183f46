"""Puts a run's averaged weights into the package, as bfloat16, with a model card.

    python dev/bundle.py runs/out/video runs/out/codec/codec.safetensors

The transformer's folder decides the encoder; a codec with another encoder is refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tenku.data.latents import encoder_hash
from tenku.engines.bundled import BUNDLED
from tenku.model.checkpoint import read_header, sha256
from tenku.model.codec import Codec
from tenku.model.transformer import Transformer


def main(run: Path, codec_path: Path) -> None:
    """Writes tenku/weights/nano/{codec,transformer}.safetensors and README.md."""
    folder = BUNDLED / "nano"
    facts = {k: v for k, v in read_header(run / "transformer.safetensors").items() if k not in ("kind", "config")}
    codec_facts = {k: v for k, v in read_header(codec_path).items() if k not in ("kind", "config")}
    codec, transformer = Codec.load(codec_path), Transformer.load(run / "transformer.safetensors")
    if encoder_hash(codec) != encoder_hash(Codec.load(run / "codec.safetensors")):
        sys.exit("error: the transformer was trained on another encoder")
    codec.save(folder / "codec.safetensors", codec_facts, half=True)
    transformer.save(folder / "transformer.safetensors", facts, half=True)
    figures = json.loads(codec_facts["figures"])
    millions = sum(p.numel() for p in transformer.parameters()) / 1e6
    (folder / "README.md").write_text(f"""# tenku-nano

The bundled model: a codec and a {millions:.1f} M parameter diffusion transformer, trained from nothing in this
repository, on two CPU cores, on clips that `tenku world make` rendered. Weights Apache-2.0; data CC0-1.0.

| what | figure |
|---|---|
| training FLOPs, transformer | {float(facts["flops"]):.2e} in {facts["steps"]} steps |
| training FLOPs, codec | {float(codec_facts["flops"]):.2e} |
| codec, held-out clips | {figures["psnr"]:.2f} dB (linear part alone {figures["linear_psnr"]:.2f} dB) |
| longest clip trained on | {facts["longest"]} latent steps |
| transformer.safetensors | sha256 {sha256(folder / "transformer.safetensors")} |
| codec.safetensors | sha256 {sha256(folder / "codec.safetensors")} |

How well it follows prompts, and the command that measures it: the repository's README. It knows the world's
subjects, colours, places, lights, actions and cameras (`tenku world sheet`) and nothing else: no people, no animals
but fish and butterflies, no text. Combinations that training never drew are listed in `tenku/world/grammar.py`.
""")
    print(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
